"""What the model in the server does: it keeps the states of many streams in one engine, and answers their steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...errors import EngineMismatch, InvalidInput
from ..base import NEW, Frame, Query, Slot, StreamEngine, StreamStates
from . import wire

__all__ = ["Sequences"]

log = logging.getLogger(__name__)


@dataclass
class _Sequence:
    """One stream: its states, its slots by number, and which roles of each the client knows it to have."""

    states: StreamStates
    slots: dict[int, Slot] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.monotonic)


class Sequences:
    """Streams by their sequence's number.

    Args:
        engine: runs the steps, one after the other; belongs to this object from now on.
        idle_s: a stream that is silent for so long is given up, as Triton does by itself
            (`max_sequence_idle_microseconds`), which tells the model nothing.
    """

    def __init__(self, engine: StreamEngine, idle_s: float = 60.0) -> None:
        self.engine = engine
        self._idle_s = idle_s
        self._open: dict[int, _Sequence] = {}

    def __len__(self) -> int:
        return len(self._open)

    def step(self, number: int, start: bool, end: bool, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer one request: tensors by name as in wire.py, without the batch axis.

        Raises what `StreamEngine.step` raises; EngineMismatch for a stream or a slot that is not known (any more).
        """
        self._give_up_idle()
        if start:
            self._end(number)
            self._open[number] = _Sequence(self.engine.open_states())
        sequence = self._open.get(number)
        if sequence is None:
            raise EngineMismatch(f"expected a stream that has begun, got sequence {number}; begin a new one")
        try:
            answer = self._answer(sequence, tensors)
        finally:
            sequence.seen_s = time.monotonic()
            if end:
                self._end(number)
        return answer

    def close(self) -> None:
        """Give back the streams and the engine."""
        for number in list(self._open):
            self._end(number)
        self.engine.close()

    def _answer(self, sequence: _Sequence, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        slots = sequence.slots
        for number in tensors.get("RELEASED", _NONE).tolist():
            slots.pop(number, None)
            sequence.told.pop(number, None)
        sequence.states.settle(slots[each] for each in tensors.get("SETTLED", _NONE).tolist() if each in slots)
        crops, numbers = tensors.get("CROPS", _NONE), tensors.get("SLOTS", _NONE).tolist()
        if len(crops) != len(numbers) or len(crops) > self.engine.max_faces:
            raise InvalidInput(
                f"CROPS: expected at most {self.engine.max_faces}, a slot each, got {len(crops)} with {len(numbers)}"
            )
        queries = self._queries(slots, tensors)
        causal = None
        if "CAUSAL" in tensors:
            causal = [None if each == wire.NEW else self._slot(slots, each) for each in tensors["CAUSAL"].tolist()]
        answer: dict[str, np.ndarray] = {}
        if len(crops):
            self.engine.crops[: len(crops)] = crops
        if len(crops) or causal is not None or any(query is not None for query in queries):
            result = self.engine.step(
                len(crops), queries, causal, sequence.states, _rows(tensors.get("CAUSAL_REFERENCES"), len(crops))
            )
            slots.update(zip(numbers, result.slots, strict=True))
            sequence.told.update(dict.fromkeys(numbers, _ALL))
            if len(crops):
                answer["HEATMAPS"] = result.heatmaps
            rows = tensors.get("QUERIES", np.empty((0, 4), np.int64))[:, 0]
            if len(rows):
                answer["LOGITS"] = result.logits[rows]
            if result.logits_causal is not None:
                answer["CAUSAL_LOGITS"] = result.logits_causal
        held = self._held(sequence)
        if held:
            answer["HELD"] = np.array(held, np.int64)
        return answer

    def _queries(self, slots: Mapping[int, Slot], tensors: Mapping[str, np.ndarray]) -> list[Query | None]:
        """By their rows, which ascend."""
        asked = tensors.get("QUERIES", np.empty((0, 4), np.int64))
        references = _rows(tensors.get("REFERENCES"), len(asked)) or [None] * len(asked)
        queries: list[Query | None] = [None] * (int(asked[:, 0].max()) + 1 if len(asked) else 0)
        for (row, *frames), reference in zip(asked.tolist(), references, strict=True):
            former, due, later = (self._frame(slots, each) for each in frames)
            queries[row] = Query(former, due, later, reference)
        return queries

    def _frame(self, slots: Mapping[int, Slot], number: int) -> Frame:
        return NEW if number == wire.NEW else self._slot(slots, number)

    @staticmethod
    def _slot(slots: Mapping[int, Slot], number: int) -> Slot:
        if number not in slots:
            raise EngineMismatch(f"expected a slot of this stream, got {number}, which it does not have (any more)")
        return slots[number]

    @staticmethod
    def _held(sequence: _Sequence) -> list[tuple[int, int]]:
        """Slots of which something was given up since the last answer, with what is left."""
        changed = []
        for number, slot in sequence.slots.items():
            left = sum(1 << bit for bit, role in enumerate(wire.ROLES) if sequence.states.holds(slot, role))
            if left != sequence.told[number]:
                sequence.told[number] = left
                changed.append((number, left))
        return changed

    def _end(self, number: int) -> None:
        sequence = self._open.pop(number, None)
        if sequence is not None:
            sequence.slots.clear()
            sequence.states.close()

    def _give_up_idle(self) -> None:
        before_s = time.monotonic() - self._idle_s
        for number in [number for number, each in self._open.items() if each.seen_s < before_s]:
            log.warning("sequence %d was silent for %g s and is given up", number, self._idle_s)
            self._end(number)


_NONE = np.empty(0, np.int64)
_ALL = (1 << len(wire.ROLES)) - 1


def _rows(references: np.ndarray | None, count: int) -> list[np.ndarray | None] | None:
    """One per row, None where it is NaN."""
    if references is None or not count:
        return None
    return [None if np.isnan(each).any() else each for each in references]
