"""The face at rest of a video in parts: what every part would have had to know of those before it.

The points at rest of a person are learned from the stream's beginning (post/neutral.py), and decide a part of the AUs.
So a part is worked on without them, and keeps the states that the network made of each face (`KeptStates`, 9 KiB a
face and frame for the default model). When all parts are joined, `settle` goes through the whole video once more in
order, without its pictures: it learns the points at rest as a stream does, and asks the engine each question again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..bundle import Bundle
from ..engines.base import Query, Slot, StreamEngine, StreamStates
from ..engines.ring import MOST_FPS
from ..engines.states import RingStates, read_states
from ..errors import BackendUnavailable
from ..pipeline.temporal import Due, TemporalBuffer
from ..post.neutral import NeutralFaces
from ..results import HeadPose
from .rows import arrow

if TYPE_CHECKING:
    import pyarrow

    from ..pipeline.records import FrameRecord
    from ..results import FrameResult

__all__ = ["ROW", "KeptStates", "Recorded", "files_of", "settle"]

ROW = "_row"
"""column of a joined table: where the states of a row are, counted over all parts"""
_POINTS = "points at rest"
_AT_ONCE = 32
"""questions that are asked in one run of the network"""


class KeptStates:
    """Writes the states of a part's faces, one record per row of its table, and the times of its frames.

    place: of the table; where the states go, `files_of` tells.
    """

    def __init__(self, place: Path) -> None:
        states, self._times = files_of(place)
        self._file: IO[bytes] = states.open("wb")
        self._waiting: dict[tuple[int, int], list[np.ndarray]] = {}
        self._frames: list[tuple[int, float]] = []

    def see(self, record: FrameRecord, states: StreamStates) -> None:
        """The faces of a new frame, for `Session.record`."""
        for face_id, face in record.faces.items():
            assert face.normal is not None  # whoever records has them all
            self._waiting[record.index, face_id] = [*read_states(states, face.slot), face.normal]

    def add(self, result: FrameResult) -> None:
        """The frame's final result, whose rows are written now."""
        self._frames.append((result.index, result.timestamp_s))
        for face in result.faces:
            for array in self._waiting[result.index, face.id]:
                self._file.write(array.tobytes())
        for key in [key for key in self._waiting if key[0] <= result.index]:
            del self._waiting[key]

    def __enter__(self) -> KeptStates:
        return self

    def __exit__(self, *_: object) -> None:
        """All is on disk."""
        self._file.close()
        frames = np.array(self._frames, np.float64).reshape(-1, 2)
        np.save(self._times, frames)


def files_of(place: Path) -> tuple[Path, Path]:
    """Of a part whose table is `place`: its states, and the numbers and times of its frames."""
    return place.with_suffix(".states"), place.with_suffix(".npy")


class Recorded:
    """What parts have kept: the states of each row, and the frames up to where the next part takes over.

    places: of the parts' tables, in order; begins: frame from which on each part but the first counts.
    """

    def __init__(self, bundle: Bundle, places: Sequence[Path], begins: Sequence[int]) -> None:
        files = [files_of(place) for place in places]
        self._states = tuple(spec.name for spec in bundle.state)
        record = np.dtype([*((s.name, s.dtype, s.shape) for s in bundle.state), (_POINTS, np.float32, (68, 2))])
        self._parts = [
            np.memmap(states, record, "r") if states.stat().st_size else np.empty(0, record) for states, _ in files
        ]
        self._ends = np.cumsum([len(part) for part in self._parts])
        frames = [np.load(times) for _, times in files]
        limits = [-np.inf, *begins, np.inf]
        bounds = itertools.pairwise(limits)
        self.frames = np.concatenate(
            [part[(part[:, 0] >= low) & (part[:, 0] < high)] for part, (low, high) in zip(frames, bounds, strict=True)]
        )
        """(n, 2) float64: number and time of every frame"""

    def rows(self, wanted: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """One array (len(wanted), *shape) per state, and the normalised points (len(wanted), 68, 2)."""
        parts = np.searchsorted(self._ends, wanted, side="right")
        begins = np.concatenate(([0], self._ends))
        records = np.array([self._parts[part][row - begins[part]] for part, row in zip(parts, wanted, strict=True)])
        return [records[name] for name in self._states], records[_POINTS]


@dataclass(eq=False, slots=True)
class _Frame:
    """faces: row of the table by id; slots: of the engine; samples: normalised points of the faces that are one."""

    time_s: float
    faces: dict[int, int]
    slots: dict[int, Slot] = field(default_factory=dict)
    samples: dict[int, np.ndarray] = field(default_factory=dict)


class _Decisions:
    """Questions to the engine, several at once: `logits` (rows, AUs) float32 are complete after `answer`."""

    def __init__(self, engine: StreamEngine, states: RingStates, rows: int, aus: int) -> None:
        self.logits = np.empty((rows, aus), np.float32)
        self._engine, self._states = engine, states
        self._asked: list[tuple[int, Query]] = []

    def ask(self, row: int, query: Query) -> None:
        self._asked.append((row, query))
        if len(self._asked) == _AT_ONCE:
            self.answer()

    def answer(self) -> None:
        if self._asked:
            answers = self._engine.query([query for _, query in self._asked], self._states)
            self.logits[[row for row, _ in self._asked]] = answers[:, : self.logits.shape[1]]
            self._asked.clear()


def settle(
    table: pyarrow.Table, recorded: Recorded, engine: StreamEngine, au_names: Sequence[str], thresholds: Sequence[float]
) -> pyarrow.Table:
    """A joined table, with its column `ROW`, as a stream of the whole video would have made it, without that column.

    Raises BackendUnavailable for an engine whose states cannot be set.
    """
    pa = arrow()
    frame, face, row = (table.column(name).to_numpy() for name in ("frame", "face_id", ROW))
    poses = np.stack([table.column(name).to_numpy() for name in ("yaw_deg", "pitch_deg", "roll_deg")], 1)
    states = engine.open_states()
    if not isinstance(states, RingStates):
        raise BackendUnavailable(f"expected an engine whose states can be set, got {engine.name}")
    decisions = _Decisions(engine, states, len(table), len(au_names))
    neutral = NeutralFaces()
    buffer: TemporalBuffer[_Frame] = TemporalBuffer(engine.bundle.interval_s, "full", most_fps=MOST_FPS)
    begins = np.searchsorted(frame, recorded.frames[:, 0])
    ends = np.searchsorted(frame, recorded.frames[:, 0], side="right")

    def decide(dues: Sequence[Due[_Frame]]) -> None:
        """As a session with its emission: every question with the points at rest of now, then the samples count."""
        for due in dues:
            for face_id, at in due.item.faces.items():
                slot = due.item.slots[face_id]
                former = slot if due.former is None else due.former.slots.get(face_id, slot)
                later = slot if due.later is None else due.later.slots.get(face_id, slot)
                decisions.ask(at, Query(former, slot, later, neutral.reference(face_id)))
        for due in dues:
            for face_id, points in due.item.samples.items():
                decisions.answer()
                at = due.item.faces[face_id]
                activity = float((1 / (1 + np.exp(-decisions.logits[at].astype(np.float64)))).sum())
                neutral.see(face_id, points, activity, HeadPose(*poses[at].tolist()), due.item.time_s)
        neutral.commit()

    try:
        for (_, time_s), begin, end in zip(recorded.frames.tolist(), begins.tolist(), ends.tolist(), strict=True):
            new = _Frame(time_s, {int(face[i]): i for i in range(begin, end)})
            dues = buffer.add(time_s, new)
            if new.faces:
                kept, normal = recorded.rows(row[begin:end])
                new.slots = dict(zip(new.faces, states.restore(kept), strict=True))
                for face_id, points in zip(new.faces, normal, strict=True):
                    if neutral.wants(face_id, time_s):
                        neutral.take(face_id, time_s)
                        new.samples[face_id] = points
            decide(dues)
        decide(buffer.flush())
        decisions.answer()
    finally:
        states.close()
    # as Emission makes probabilities of logits
    probabilities = 1 / (1 + np.exp(-decisions.logits.astype(np.float64)))
    for i, name in enumerate(au_names):
        values = {name: pa.array(probabilities[:, i].astype(np.float32))}
        values[f"{name}_active"] = pa.array(probabilities[:, i] >= np.float32(thresholds[i]))
        for column, array in values.items():
            table = table.set_column(table.schema.get_field_index(column), column, array)
    return table.drop_columns([ROW])
