"""What the model in the server does: it keeps the states of many streams in one engine, and answers their steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ...errors import AUNetError, EngineMismatch, InvalidInput
from ..base import NEW, Frame, Query, Slot, StepResult, StreamEngine, StreamStates
from ..joint import Asked, JointEngine
from . import wire

__all__ = ["Request", "Sequences"]

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Sequence:
    """One stream: its states, its slots by number, and which roles of each the client knows it to have."""

    states: StreamStates
    slots: dict[int, Slot] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)
    seen_s: float = field(default_factory=time.monotonic)


@dataclass
class _Work:
    """What a request asks of the engine; `asked` where it is shared with others."""

    request: Request
    sequence: _Sequence
    n_new: int
    queries: list[Query | None]
    causal: list[Slot | None] | None
    references: list[np.ndarray | None] | None = None
    asked: Asked | None = None

    @property
    def wanted(self) -> bool:
        return bool(self.n_new) or self.causal is not None or any(query is not None for query in self.queries)


@dataclass
class Request:
    """One step of a stream: `start` and `end` of its sequence, and tensors by name as in wire.py, without the batch
    axis."""

    number: int
    start: bool
    end: bool
    tensors: Mapping[str, np.ndarray]


class Sequences:
    """Streams by their sequence's number.

    Args:
        engine: runs the steps, one after the other; belongs to this object from now on.
        idle_s: a stream that is silent for so long is given up, as Triton does by itself
            (`max_sequence_idle_microseconds`), which tells the model nothing.
        batch: streams whose steps run as one. With 1 every stream has states of its own; with more the streams share
            states, of `engine.max_faces` faces at 240 frames a second, and each has its share of `engine.max_faces` in
            a step.
    """

    def __init__(self, engine: StreamEngine, idle_s: float = 60.0, batch: int = 1) -> None:
        self.engine = engine
        self._idle_s = idle_s
        self._open: dict[int, _Sequence] = {}
        self._faces = max(1, engine.max_faces // batch)
        self._joint = JointEngine(engine, threading.RLock())
        self._ports = [self._joint.port(self._faces) for _ in range(batch)] if batch > 1 else []

    def __len__(self) -> int:
        return len(self._open)

    def step(self, number: int, start: bool, end: bool, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer one request.

        Raises what `StreamEngine.step` raises; EngineMismatch for a stream or a slot that is not known (any more).
        """
        (answer,) = self.steps([Request(number, start, end, tensors)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def steps(self, requests: Sequence[Request]) -> list[dict[str, np.ndarray] | Exception]:
        """Answer requests of as many streams, at most `batch`, in one run of the engine; of each its answer or what
        `step` would raise. One that is wrong does not touch the others."""
        self._give_up_idle()
        works = [self._guarded(self._begin, request, row) for row, request in enumerate(requests)]
        ready = [work for work in works if isinstance(work, _Work) and work.asked is not None]
        if self._ports and ready:
            self._joint.run([work.asked for work in ready if work.asked is not None])
        answers = [work if isinstance(work, Exception) else self._guarded(self._answer, work) for work in works]
        for request in requests:
            if request.number in self._open:
                self._open[request.number].seen_s = time.monotonic()
            if request.end:
                self._end(request.number)
        return answers

    def close(self) -> None:
        """Give back the streams and the engine."""
        for number in list(self._open):
            self._end(number)
        self.engine.close()

    @staticmethod
    def _guarded(do: Callable[..., T], *args: Any) -> T | Exception:
        try:
            return do(*args)
        except Exception as error:
            return error

    def _begin(self, request: Request, row: int) -> _Work:
        """What the request asks of the engine. Raises EngineMismatch, InvalidInput."""
        number, tensors = request.number, request.tensors
        if request.start:
            self._end(number)
            self._open[number] = _Sequence(self._ports[0].open_states() if self._ports else self.engine.open_states())
        sequence = self._open.get(number)
        if sequence is None:
            raise EngineMismatch(f"expected a stream that has begun, got sequence {number}; begin a new one")
        slots = sequence.slots
        for each in tensors.get("RELEASED", _NONE).tolist():
            slots.pop(each, None)
            sequence.told.pop(each, None)
        sequence.states.settle(slots[each] for each in tensors.get("SETTLED", _NONE).tolist() if each in slots)
        crops, numbers = tensors.get("CROPS", _NONE), tensors.get("SLOTS", _NONE).tolist()
        if len(crops) != len(numbers) or len(crops) > self._faces:
            raise InvalidInput(
                f"CROPS: expected at most {self._faces}, a slot each, got {len(crops)} with {len(numbers)}"
            )
        queries = self._queries(slots, tensors)
        causal = None
        if "CAUSAL" in tensors:
            causal = [None if each == wire.NEW else self._slot(slots, each) for each in tensors["CAUSAL"].tolist()]
        work = _Work(request, sequence, len(crops), queries, causal)
        work.references = _rows(tensors.get("CAUSAL_REFERENCES"), len(crops))
        if work.wanted and self._ports:
            port = self._ports[row]
            if len(crops):
                port.crops[: len(crops)] = crops
            work.asked = Asked(port, len(crops), queries, causal, work.references)
        return work

    def _answer(self, work: _Work) -> dict[str, np.ndarray]:
        sequence, tensors = work.sequence, work.request.tensors
        answer: dict[str, np.ndarray] = {}
        if work.wanted:
            result = self._result(work)
            numbers = tensors.get("SLOTS", _NONE).tolist()
            sequence.slots.update(zip(numbers, result.slots, strict=True))
            sequence.told.update(dict.fromkeys(numbers, _ALL))
            if work.n_new:
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

    def _result(self, work: _Work) -> StepResult:
        """Of the step that was shared, alone where the shared one failed."""
        if work.asked is not None and work.asked.error is not None:
            work.asked.error = None
            self._joint.run([work.asked])
        if work.asked is None:
            if work.n_new:
                self.engine.crops[: work.n_new] = work.request.tensors["CROPS"]
            return self.engine.step(work.n_new, work.queries, work.causal, work.sequence.states, work.references)
        if work.asked.result is None:
            raise work.asked.error or AUNetError("the step was interrupted; repeat it")
        return work.asked.result

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
