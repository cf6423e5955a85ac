"""The data set's table: one row per face and frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailable

if TYPE_CHECKING:
    import pyarrow

    from ..results import FrameResult

__all__ = ["ROW_GROUP", "Rows", "arrow", "schema_of"]

ROW_GROUP = 20_000
"""rows that wait in memory before they are written"""
_FIXED = {
    "frame": "int32",
    "timestamp_s": "float64",
    "face_id": "int32",
    **dict.fromkeys(("x", "y", "width", "height", "score"), "float32"),
    "context": "string",
    **dict.fromkeys(("yaw_deg", "pitch_deg", "roll_deg"), "float32"),
}


def arrow() -> Any:
    """pyarrow; raises BackendUnavailable where it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendUnavailable(f'Parquet needs pyarrow: {error}; pip install "aunet_sdk[jobs]"') from error
    return pyarrow


def schema_of(au_names: Sequence[str], facts: Mapping[str, str]) -> pyarrow.Schema:
    """frame, timestamp_s, face_id, box in px, score, context, pose; per AU its probability in [0, 1] and `_active`.

    facts: what made the table; they stand in the file's key-value metadata under `aunet.NAME`.
    """
    pa = arrow()
    fields = [pa.field(name, getattr(pa, kind)()) for name, kind in _FIXED.items()]
    fields += [pa.field(name, pa.float32()) for name in au_names]
    fields += [pa.field(f"{name}_active", pa.bool_()) for name in au_names]
    return pa.schema(fields, metadata={f"aunet.{name}": value for name, value in facts.items()})


class Rows:
    """Rows of one file, in columns, until there are enough for a row group."""

    def __init__(self, schema: pyarrow.Schema, au_names: Sequence[str]) -> None:
        self._schema, self._au_names = schema, tuple(au_names)
        self._columns: list[list[Any]] = [[] for _ in schema.names]

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, result: FrameResult) -> None:
        """The faces of one final result."""
        for face in result.faces:
            x, y, width, height = face.box.tolist()
            pose = face.pose
            row = [
                *(result.index, result.timestamp_s, face.id, x, y, width, height, face.score, str(face.context)),
                *(pose.yaw_deg, pose.pitch_deg, pose.roll_deg),
                *face.probabilities.tolist(),
                *face.active.tolist(),
            ]
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)

    def take(self) -> pyarrow.Table:
        """The rows so far, which are not kept."""
        table = arrow().table(dict(zip(self._schema.names, self._columns, strict=True)), schema=self._schema)
        self._columns = [[] for _ in self._schema.names]
        return table
