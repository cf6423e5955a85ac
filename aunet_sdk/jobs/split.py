"""One long video by several workers: parts that overlap, joined where both say the same.

A stream knows what it has seen: crops follow the landmarks of the frame before. A part that begins in the middle is
therefore another stream, until the face is found anew in both, or both follow the same points; from then on they agree
to the rounding of the engine, and the finder looks at the same frames in both (faces/cadence.py). So a part goes on
beyond its end into the next one, and the rows change over at the first frame from which on both agree for `AGREE_S`.
Where they never do, the two parts are worked on again as one. What a part cannot know, the faces at rest, is learned
when all parts are there (jobs/rest.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .rows import arrow

if TYPE_CHECKING:
    import pyarrow

__all__ = ["AGREE_S", "OVERLAP_S", "Part", "change_over", "join", "parts_of"]

OVERLAP_S = 12.0
"""by so much a part goes on into the next one"""
AGREE_S = 1.0
CLOSE = 2e-5
"""difference of probabilities and scores that is none"""
CLOSE_PX = 0.01
_COLUMNS = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Part:
    """Frames from `begin` on, up to `end` (not included; None: to the file's end). `next`: where the next part begins;
    None: there is none."""

    begin: int
    end: int | None
    next: int | None

    def place(self, key: str) -> str:
        """Name of the file with its rows, in the data set's `_work`."""
        return f"{key}.part-{self.begin}-{'end' if self.end is None else self.end}.parquet"

    def with_next(self, after: Part) -> Part:
        """This part and the one after it, as one."""
        return Part(self.begin, after.end, after.next)


def parts_of(frame_count: int, fps: float, seconds: float) -> list[Part]:
    """Parts of about `seconds` each, at least twice the overlap; one where the video is no longer than that."""
    step = max(round(seconds * fps), 2 * round(OVERLAP_S * fps))
    count = max(1, round(frame_count / step))
    begins = [round(i * frame_count / count) for i in range(count)]
    overlap = round(OVERLAP_S * fps)
    return [
        Part(begin, after + overlap if after is not None else None, after)
        for begin, after in zip(begins, [*begins[1:], None], strict=True)
    ]


def change_over(earlier: pyarrow.Table, later: pyarrow.Table, begin: int, au_names: Sequence[str]) -> int | None:
    """The frame from which on both tables agree for `AGREE_S`, `begin` being the later one's first frame; None where
    there is none. Frames without a face agree where neither has one."""
    first, second = _by_frame(earlier, au_names), _by_frame(later, au_names)
    times = {**{f: rows[0][1] for f, rows in first.items()}, **{f: rows[0][1] for f, rows in second.items()}}
    since: int | None = None
    since_s = 0.0
    for frame in sorted(frame for frame in times if frame >= begin):
        if not _agree(first.get(frame), second.get(frame)):
            since = None
            continue
        if since is None:
            since, since_s = frame, times[frame]
        if times[frame] - since_s >= AGREE_S:
            return since
    return None


def join(tables: Sequence[pyarrow.Table], frames: Sequence[int]) -> pyarrow.Table:
    """The tables of parts as one: the rows of table k + 1 begin with frame `frames[k]`. Ids go on: a face of the later
    table has the id that the earlier one gives it at that frame, and a new one is counted on."""
    pa = arrow()
    joined: list[pyarrow.Table] = []
    most = 0
    ids: dict[int, int] = {}
    for k, table in enumerate(tables):
        frame, face = (table.column(name).to_numpy() for name in ("frame", "face_id"))
        if k:
            at = frames[k - 1]
            ids = _carried(joined[-1], table, at)
            keep = frame >= at
            joined[-1] = joined[-1].filter(pa.array(joined[-1].column("frame").to_numpy() < at))
            table, face = table.filter(pa.array(keep)), face[keep]
            new = list(dict.fromkeys(int(each) for each in face if int(each) not in ids))
            ids.update({each: most + 1 + n for n, each in enumerate(new)})
            named = np.array([ids[int(each)] for each in face], np.int32)
            table = table.set_column(table.schema.get_field_index("face_id"), "face_id", pa.array(named))
            face = named
        most = max([most, *(int(each) for each in face)])
        joined.append(table)
    return pa.concat_tables(joined)


def _carried(earlier: pyarrow.Table, later: pyarrow.Table, frame: int) -> dict[int, int]:
    """Ids of the later table by those of the earlier one, from the boxes of the frame where they change over; of faces
    that are not in it (nobody may be), none is carried."""
    first, second = _boxes(earlier, frame), _boxes(later, frame)
    found: dict[int, int] = {}
    for face, box in second.items():
        near = min(first, key=lambda each: float(np.abs(first[each] - box).max()), default=None)
        if near is not None and np.abs(first[near] - box).max() < CLOSE_PX:
            found[face] = near
    return found


def _boxes(table: pyarrow.Table, frame: int) -> dict[int, np.ndarray]:
    rows = np.flatnonzero(table.column("frame").to_numpy() == frame)
    face = table.column("face_id").to_numpy()
    box = np.stack([table.column(name).to_numpy() for name in _COLUMNS], 1)
    return {int(face[row]): box[row] for row in rows}


def _by_frame(table: pyarrow.Table, au_names: Sequence[str]) -> dict[int, np.ndarray]:
    """Rows (faces, 2 + 4 + 1 + AUs) of every frame: number, time, box, score, probabilities; from left to right."""
    names = ("frame", "timestamp_s", *_COLUMNS, "score", *au_names)
    rows = np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], 1)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    begins = np.flatnonzero(np.diff(rows[:, 0], prepend=-1)) if len(rows) else np.empty(0, int)
    return {int(part[0, 0]): part for part in np.split(rows, begins[1:]) if len(part)}


def _agree(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None or len(first) != len(second):
        return first is second
    close = np.abs(first - second)
    return bool((close[:, 2:6] < CLOSE_PX).all() and (close[:, 6:] < CLOSE).all())
