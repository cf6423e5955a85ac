"""Parquet: a table with one row per face and frame, by pyarrow. What was flushed survives whatever becomes of us."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput, OutputLost
from .base import Sink, lost
from .extras import load_extra

if TYPE_CHECKING:
    from ..results import Face, FrameResult

__all__ = ["ParquetSink"]

log = logging.getLogger(__name__)

FLUSH_ROWS = 20_000
MOST_PARTS = 500
"""of which `close` makes one file; more would take too long in the end"""
N_POINTS = 68


class ParquetSink(Sink):
    """Writes FrameResults to a Parquet table with the columns of docs/csv.md, `source` and `provisional` included.

    While it is written, `path` is a folder of finished files (part-00000.parquet, ...): a data set, which readers of
    Parquet take as one table. A flush writes the last part anew, with what came since, and puts it in the old one's
    place; after 20,000 rows another part begins, so that months leave no more files than their rows need. `close` makes
    one file of the folder, where there are at most 500 parts. A process that is killed leaves the folder, with
    everything up to the last flush. An existing file, or a folder that such a process has left, is replaced.

    Args:
        path: ends in .parquet.
        au_names: the AUs that get a column, such as `detector.au_names`.
        source: see `MessageSink`.
        landmarks: whether the 68 points have columns, x0 to x67 and y0 to y67.
        validity: two columns more per AU, `AU.._valid` (boolean) and `AU.._why_not` (text); null where nobody looked.
        intensity: a column more per AU, `AU.._intensity`, 0 to 1; null where the model has none.
        flush_s: how often the last part is written, looked at whenever something comes; also after 20,000 rows.

    Raises InvalidInput where the path cannot be used, and where a face carries no such AU; OutputLost where the disk is
    full: what was flushed before is kept, as a folder. BackendUnavailable where pyarrow is missing.
    """

    takes_images = False

    def __init__(
        self,
        path: str | Path,
        au_names: Sequence[str],
        source: str = "",
        *,
        landmarks: bool = False,
        validity: bool = False,
        intensity: bool = False,
        flush_s: float = 10.0,
    ) -> None:
        self._arrow = load_extra("pyarrow", "Parquet", 'pip install "aunet_sdk[parquet]"')
        self._parquet = load_extra("pyarrow.parquet", "Parquet", 'pip install "aunet_sdk[parquet]"')
        self.path = Path(path)
        self.au_names = tuple(au_names)
        self.rows = 0
        self._source = source
        self._landmarks = landmarks
        self._validity = validity
        self._intensity = intensity
        self._flush_s = flush_s
        self._parts = self._unflushed = 0
        self._closed = False
        self._schema = self._make_schema()
        self._columns: list[list[Any]] = [[] for _ in self._schema]
        self._part: list[Any] = []
        """tables of the last part, which are flushed"""
        if self.path.suffix.lower() != ".parquet":
            raise InvalidInput(f"Parquet: expected a path that ends in .parquet, got {self.path.name!r}")
        self._make_folder()
        self._flushed_s = time.monotonic()

    def _make_folder(self) -> None:
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                others = [each.name for each in self.path.iterdir() if not _is_part(each.name)]
                if others:
                    raise InvalidInput(
                        f"Parquet: expected nothing but parts in {self.path}, got {others[0]!r}; give another path"
                    )
                shutil.rmtree(self.path)
            elif self.path.exists() or self.path.is_symlink():
                if not self.path.is_file():
                    raise InvalidInput(f"Parquet: expected a file or nothing at {self.path}; give another path")
                self.path.unlink()
            self.path.mkdir()
        except (OSError, ValueError) as error:
            if isinstance(error, AUNetError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"Parquet: cannot write to {self.path}: {reason}; give another path") from error

    def _make_schema(self) -> Any:
        a = self._arrow
        fields = [("source", a.string()), ("frame", a.int64()), ("timestamp_s", a.float64()), ("face_id", a.int64())]
        fields += [(name, a.float32()) for name in ("x", "y", "width", "height", "score")]
        fields += [("context", a.string()), ("provisional", a.bool_())]
        fields += [(name, a.float32()) for name in ("yaw_deg", "pitch_deg", "roll_deg", *self.au_names)]
        fields += [(f"{name}_active", a.bool_()) for name in self.au_names]
        if self._intensity:
            fields += [(f"{name}_intensity", a.float32()) for name in self.au_names]
        if self._validity:
            fields += [(f"{name}_valid", a.bool_()) for name in self.au_names]
            fields += [(f"{name}_why_not", a.string()) for name in self.au_names]
        if self._landmarks:
            fields += [(f"{axis}{i}", a.float32()) for axis in "xy" for i in range(N_POINTS)]
        return a.schema(fields)

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        self._check_open()
        source = without_credentials(self._source if file is None else file)
        for row in [self._row(result, face, source) for face in result.faces]:  # all of a frame, or nothing
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)
        if not self._flush_now_and_then():
            self._unflushed += 1

    def status(self, status: dict[str, Any]) -> None:
        self._check_open()
        self._flush_now_and_then()

    def _row(self, result: FrameResult, face: Face, source: str) -> list[Any]:
        missing = [name for name in self.au_names if name not in face.au_names]
        if missing:
            expected = ", ".join(self.au_names)
            raise InvalidInput(f"Parquet: expected faces with {expected}, got one without {', '.join(missing)}")
        where = [face.au_names.index(name) for name in self.au_names]
        pose = face.pose
        row = [source, result.index, result.timestamp_s, face.id, *face.box.tolist(), face.score, str(face.context)]
        row += [result.provisional or face.provisional, pose.yaw_deg, pose.pitch_deg, pose.roll_deg]
        row += [*face.probabilities[where].tolist(), *face.active[where].tolist()]
        if self._intensity:
            strength = face.intensity
            row += [strength[name] for name in self.au_names]
        if self._validity:
            valid, why_not = face.valid, face.why_not
            row += [valid[name] for name in self.au_names]
            row += [why_not[name] for name in self.au_names]
        if self._landmarks:
            row += face.landmarks.T.ravel().tolist()
        return row

    def _flush_now_and_then(self) -> bool:
        due = len(self._columns[0]) >= FLUSH_ROWS or time.monotonic() - self._flushed_s >= self._flush_s
        if due:
            self.flush()
        return due

    def flush(self) -> None:
        """Writes the last part, with what waits. Raises OutputLost; the rows then wait for the next flush."""
        self._check_open()
        self._flushed_s = time.monotonic()
        count = len(self._columns[0])
        if not count:
            self._unflushed = 0  # nobody was in them
            return
        tables = [*self._part, self._arrow.table(self._columns, schema=self._schema)]
        self._write(self.path / f"part-{self._parts:05d}.parquet", [self._arrow.concat_tables(tables)])
        self._part = tables
        self.rows += count
        if sum(table.num_rows for table in tables) >= FLUSH_ROWS:
            self._parts, self._part = self._parts + 1, []
        self._unflushed = 0
        self._columns = [[] for _ in self._schema]

    def _write(self, path: Path, tables: Any) -> None:
        """A whole file at once: under a hidden name, onto the disk, then under its own."""
        hidden = path.with_name(f".{path.name}.tmp")
        try:
            with hidden.open("wb") as stream:
                with self._parquet.ParquetWriter(stream, self._schema, compression="zstd") as writer:
                    for table in tables:
                        writer.write_table(table)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(hidden, path)
        except (OSError, self._arrow.ArrowException) as error:
            with suppress(OSError):
                hidden.unlink()
            raise lost("Parquet", path, error) from error

    def close(self) -> None:
        """Makes one file of up to 500 parts; where there is no room for it they stay, as a folder, and the log says so.
        It may be called twice. Raises OutputLost where the last rows cannot be written."""
        if self._closed:
            return
        try:
            self.flush()
        except OutputLost:
            self.abandon()
            raise
        self._closed = True
        parts = sorted(self.path.glob("part-*.parquet"))
        if len(parts) > MOST_PARTS:
            return
        whole = self.path.with_name(f".{self.path.name}.whole")
        aside = self.path.with_name(f".{self.path.name}.parts")
        try:
            self._write(whole, (self._parquet.read_table(part, schema=self._schema) for part in parts))
            os.rename(self.path, aside)
            os.rename(whole, self.path)
            shutil.rmtree(aside, ignore_errors=True)
        except (AUNetError, OSError) as error:
            with suppress(OSError):
                whole.unlink()
            if aside.exists() and not self.path.exists():
                os.rename(aside, self.path)
            log.warning("Parquet: %s stays a folder of %d parts: %s", self.path, len(parts), error)

    def abandon(self) -> None:
        """What was flushed stays, as a folder; the results that were not are in `left_out`."""
        self._closed = True
        self.left_out += self._unflushed
        self._unflushed = 0

    def _check_open(self) -> None:
        if self._closed:
            raise AUNetError("Parquet: this sink is closed; make a new one")


def _is_part(name: str) -> bool:
    return name.removeprefix(".").startswith("part-") and name.removesuffix(".tmp").endswith(".parquet")
