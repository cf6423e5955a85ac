"""The parts of a video that are done, and the one table and status that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..sinks.base import lost
from .dataset import DataSet, Status
from .rest import ROW, files_of
from .rows import arrow
from .split import Part, change_over, join

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Joined", "discard", "joined_of"]


@dataclass(frozen=True)
class Joined:
    """begins: frame from which on each part but the first counts; status: of the whole video, but for its rows."""

    parts: tuple[Part, ...]
    begins: tuple[int, ...]
    status: Status

    def table(self, work: Path, key: str, numbered: bool = False) -> pyarrow.Table:
        """The rows of all parts as one table; numbered: with the column `ROW`, which tells where they come from."""
        tables = [arrow().parquet.read_table(work / part.place(key)) for part in self.parts]
        if numbered:
            ends = np.cumsum([0, *(table.num_rows for table in tables)]).tolist()
            columns = [arrow().array(np.arange(*ends)) for ends in pairwise(ends)]
            tables = [table.append_column(ROW, column) for table, column in zip(tables, columns, strict=True)]
        return join(tables, self.begins)

    def finish(self, data: DataSet, key: str, status: Status, table: pyarrow.Table) -> Status:
        """Table and status go to their place, and nothing is left of the parts. Raises OutputLost."""
        status = replace(
            status,
            frames_with_face=len(set(table.column("frame").to_pylist())),
            rows=table.num_rows,
            faces=len(set(table.column("face_id").to_pylist())),
            duration_s=0.0 if not table.num_rows else round(float(table.column("timestamp_s")[-1].as_py()), 3),
        )
        place = data.work / f"{key}.joined.parquet"
        try:
            arrow().parquet.write_table(table, place, compression="zstd")
        except OSError as error:
            place.unlink(missing_ok=True)
            raise lost("data set", data.root, error) from error
        data.finish(status, place)
        for part in self.parts:
            discard(data.work / part.place(key))
        return status


def joined_of(
    data: DataSet, key: str, parts: Sequence[Part], done: Mapping[int, Status], au_names: Sequence[str]
) -> Joined | int:
    """Parts as one, `done` having the status of each by its first frame; where two never agree, the number of the
    former of the two."""
    tables = [arrow().parquet.read_table(data.work / part.place(key)) for part in parts]
    begins = []
    for k, (earlier, later) in enumerate(pairwise(tables)):
        at = change_over(earlier, later, parts[k + 1].begin, au_names)
        if at is None:
            return k
        begins.append(at)
    statuses = [done[part.begin] for part in parts]
    last = statuses[-1]
    broken = next((each for each in statuses if each.state == "broken"), last)
    status = replace(
        last,
        state=broken.state,
        problem=broken.problem,
        frames=parts[-1].begin + last.frames,
        work_s=round(sum(each.work_s for each in statuses), 3),
        attempts=max(each.attempts for each in statuses),
    )
    return Joined(tuple(parts), tuple(begins), status)


def discard(place: Path) -> None:
    """Nothing is left of a part."""
    for path in (place, *files_of(place)):
        path.unlink(missing_ok=True)
