"""Decisions about frames that are due: which questions there are, with which step of the engine they are asked, and
what is answered where a state is gone.

A frame is due when its later neighbour is there. The question about a face then rides along with the step that looks at
the newest frame; what could not ride is asked by itself. Nothing is given up before the frame is done: where a step
fails, the same questions can be asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from ..engines.base import NEW, Frame, Query, Slot, StepResult, StreamEngine, StreamStates
from ..engines.ring import MOST_FPS
from ..options import LookAhead
from ..results import Context
from .records import Answer, FrameRecord
from .temporal import Due, TemporalBuffer

__all__ = ["Ask", "DecisionScheduler", "Turn"]

log = logging.getLogger(__name__)

ReferenceOf = Callable[[int], "np.ndarray | None"]

_CONTEXTS = {
    (True, True): Context.FULL,
    (True, False): Context.PAST,
    (False, True): Context.FUTURE,
    (False, False): Context.NONE,
}


@dataclass(eq=False, slots=True)
class Ask:
    """The decision that is wanted about one face of an earlier frame."""

    face_id: int
    due: Slot
    former: Slot | None
    later: Slot | None
    """None: the face was not seen there, or `later_is_new`"""
    later_is_new: bool = False
    """the later frame is the new one, if the face is still there"""
    answer: Answer | None = None
    lost: bool = False
    """the face's own state is gone: nothing can be said any more"""

    def query(self, states: StreamStates, reference: np.ndarray | None = None) -> tuple[Query, Context] | None:
        """With whatever neighbours there are, and which; the due frame stands in for one that is missing, or whose
        state is gone. None: the due frame's own state is gone."""
        former = self._usable(self.former, "former", states)
        later: Frame | None = NEW if self.later_is_new else self._usable(self.later, "later", states)
        stands_in = ["due", *(["former"] if former is None else []), *(["later"] if later is None else [])]
        if not all(states.holds(self.due, role) for role in stands_in):
            self.lost = True
            return None
        query = Query(self.due if former is None else former, self.due, self.due if later is None else later, reference)
        return query, _CONTEXTS[former is not None, later is not None]

    @staticmethod
    def _usable(slot: Slot | None, role: str, states: StreamStates) -> Slot | None:
        return slot if slot is not None and states.holds(slot, role) else None


class Turn:
    """The questions of one new frame: about the faces of all frames that are due with it, and the early ones about the
    frame itself. From DecisionScheduler.begin."""

    __slots__ = ("_engine", "_formers", "_new", "_reference_of", "_riding", "asks", "early", "late")

    def __init__(
        self,
        dues: Sequence[Due[FrameRecord]],
        new: FrameRecord | None,
        engine: StreamEngine,
        reference_of: ReferenceOf,
    ) -> None:
        self.late = [due for due in dues if due.item is not new]
        self.early = next((due for due in dues if due.item is new), None)
        self._engine = engine
        self._new = new
        self._reference_of = reference_of
        self._formers = {} if self.early is None or self.early.former is None else self.early.former.slots()
        self.asks = [self._asks_of(due) for due in self.late]
        self._riding: list[tuple[int, Ask, Context]] = []

    def _asks_of(self, due: Due[FrameRecord]) -> list[Ask]:
        """One per face of a frame that is due."""
        former = {} if due.former is None else due.former.slots()
        is_new = due.later is not None and due.later is self._new
        later = {} if due.later is None or is_new else due.later.slots()
        return [
            Ask(face_id, face.slot, former.get(face_id), later.get(face_id), later_is_new=is_new)
            for face_id, face in sorted(due.item.faces.items())
        ]

    def expect(self, face_ids: Set[int]) -> None:
        """These faces are looked for in the new frame; no others can be a later neighbour there."""
        for ask in self._all():
            ask.later_is_new = ask.later_is_new and ask.face_id in face_ids

    def ride(
        self, face_ids: Sequence[int], states: StreamStates
    ) -> tuple[list[Query | None], list[Slot | None] | None]:
        """The queries and the causal formers for a step of the engine whose crops are these faces.

        One question per face can ride with its crop; where two frames are due at once and share the new one, the
        second waits.
        """
        rows = {face_id: row for row, face_id in enumerate(face_ids)}
        queries: list[Query | None] = [None] * len(face_ids)
        self._riding = []
        for ask in self._open():
            row = rows.get(ask.face_id) if ask.later_is_new else len(queries)
            if row is None or (row < len(queries) and queries[row] is not None):
                continue
            asked = ask.query(states, self._reference_of(ask.face_id))
            if asked is None:
                continue
            if row == len(queries):
                queries.append(None)
            queries[row] = asked[0]
            self._riding.append((row, ask, asked[1]))
        return queries, None if self.early is None else [self._former(face_id, states) for face_id in face_ids]

    def take(
        self, step: StepResult, face_ids: Sequence[int], causal: Sequence[Slot | None] | None
    ) -> dict[int, Answer]:
        """The answers of that step; returns the early ones by face id."""
        for row, ask, context in self._riding:
            ask.answer = Answer(step.logits[row], context)
        if step.logits_causal is None or causal is None:
            return {}
        return {
            face_id: Answer(step.logits_causal[row], Context.NONE if causal[row] is None else Context.PAST)
            for row, face_id in enumerate(face_ids)
        }

    def revoke(self, face_ids: Set[int]) -> None:
        """What was answered with the new frame's crops of these faces counts no more."""
        for ask in self._all():
            if ask.later_is_new and ask.face_id in face_ids:
                ask.answer = None

    def finish(self, slots: Mapping[int, Slot], states: StreamStates) -> None:
        """Answer what is left; `slots` are those of the new frame's faces, by id."""
        left: list[tuple[Ask, Query, Context]] = []
        for ask in self._open():
            if ask.later_is_new:
                ask.later, ask.later_is_new = slots.get(ask.face_id), False
            asked = ask.query(states, self._reference_of(ask.face_id))
            if asked is not None:
                left.append((ask, *asked))
        if left:
            logits = self._engine.query([query for _, query, _ in left], states)
            for (ask, _, context), row in zip(left, logits, strict=True):
                ask.answer = Answer(row, context)

    def _former(self, face_id: int, states: StreamStates) -> Slot | None:
        slot = self._formers.get(face_id)
        return slot if slot is not None and states.holds(slot, "former") else None

    def _all(self) -> Iterator[Ask]:
        return (ask for asks in self.asks for ask in asks)

    def _open(self) -> list[Ask]:
        return [ask for ask in self._all() if ask.answer is None and not ask.lost]


class DecisionScheduler:
    """Frames of one stream, and when they are due.

    What is kept is bounded: the frames that wait for a later one and those that may still be a former one are as many
    as `MOST_FPS` (240) frames a second make in the bundle's interval. Where frames come faster, the oldest has its turn
    early, without a later neighbour, and the neighbours that are gone are missing from its context; a warning says so
    once.

    reference_of: the points at rest of a face, by its id; None where they are not known.
    """

    def __init__(
        self, engine: StreamEngine, look_ahead: LookAhead, reference_of: ReferenceOf = lambda face_id: None
    ) -> None:
        interval_s = engine.bundle.interval_s
        self._engine = engine
        self._reference_of = reference_of
        self._settles_at_once = look_ahead == "none"
        self._buffer: TemporalBuffer[FrameRecord] = TemporalBuffer(interval_s, look_ahead, most_fps=MOST_FPS)
        self._warned: set[str] = set()
        self.unanswered = 0
        """faces of frames that were due whose state was gone: they are missing from their results"""

    def __len__(self) -> int:
        """Frames that are kept."""
        return len(self._buffer)

    @property
    def waiting(self) -> int:
        """Frames that are not due yet."""
        return self._buffer.waiting

    def snapshot(self) -> Callable[[], None]:
        """What puts everything back to where it is now."""
        return self._buffer.snapshot()

    def begin(self, record: FrameRecord) -> Turn:
        """Take in a frame: the questions that are to be asked with it. Raises InvalidInput for a wrong time."""
        return Turn(self._buffer.add(record.timestamp_s, record), record, self._engine, self._reference_of)

    def end(self) -> Turn:
        """The questions of all frames that still wait; no frame is kept afterwards."""
        return Turn(self._buffer.flush(), None, self._engine, self._reference_of)

    def done(self, turn: Turn, new_slots: Sequence[Slot], states: StreamStates) -> None:
        """The results of this turn are made: the states that nobody asks about any more may go."""
        states.settle(ask.due for asks in turn.asks for ask in asks)
        if self._settles_at_once:
            states.settle(new_slots)
        lost = sum(ask.lost for asks in turn.asks for ask in asks)
        self.unanswered += lost
        if lost:
            self._warn(
                "lost", "the state of a face was gone when its frame was due; such faces are left out and counted"
            )
        if self._buffer.crowded:
            self._warn(
                "crowded",
                f"frames come faster than {MOST_FPS} a second by their timestamp_s: not all of them are kept, and "
                "results have less context; times are expected in seconds",
            )
        if self._buffer.sparse:
            self._warn(
                "sparse",
                f"frames come {self._buffer.period_s:g} s apart by their timestamp_s, more than twice the model's "
                f"interval of {self._buffer.interval_s:g} s, so that no frame has a neighbour in time (context none); "
                "times are expected in seconds: divide milliseconds by 1000",
            )

    def _warn(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s", text)
