"""One batch over several streams: steps that are asked for at the same time run as one step of the engine.

Every stream has a `JointPort`, which is an engine to it. A push of a stream is a turn; a step waits until every stream
that is in a turn has asked for its own, and then one of them runs all. A stream that is in no turn is waited for by
nobody, so that cameras with different rates do not slow each other down by more than one frame's work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import AUNetError
from .base import Query, Slot, StepResult, StreamEngine, StreamStates
from .states import read_states

__all__ = ["Asked", "JointEngine", "JointPort"]


class Asked:
    """One port's step, until it is done: `result`, or what was raised in `error`."""

    __slots__ = ("causal", "done", "error", "n_new", "port", "queries", "references", "result")

    def __init__(
        self,
        port: JointPort,
        n_new: int,
        queries: Sequence[Query | None],
        causal: Sequence[Slot | None] | None,
        references: Sequence[np.ndarray | None] | None,
    ) -> None:
        self.port, self.n_new, self.causal, self.references = port, n_new, causal, references
        self.queries = list(queries) + [None] * max(0, n_new - len(queries))
        self.done = False
        self.result: StepResult | None = None
        self.error: BaseException | None = None


class JointEngine:
    """What the ports of one engine share.

    Args:
        engine: belongs to the caller, as before.
        lock: is held while the engine works.
    """

    def __init__(self, engine: StreamEngine, lock: Any) -> None:
        self.engine = engine
        self.lock = lock
        self.batches = self.steps = 0
        """runs of the engine, and the steps that were asked for; the difference was saved"""
        self._change = threading.Condition()
        self._turns = 0
        self._waiting: list[Asked] = []
        self._states: StreamStates | None = None

    def port(self, max_faces: int | None = None) -> JointPort:
        """An engine for one more stream, of at most so many crops; None: as many as the engine's largest batch."""
        return JointPort(self, max_faces)

    @property
    def states(self) -> StreamStates:
        """Those of all ports: rows go to whoever needs them."""
        with self.lock:
            if self._states is None:
                self._states = self.engine.open_states()
            return self._states

    def enter(self) -> None:
        """A stream begins a turn: it will ask for steps, or leave."""
        with self._change:
            self._turns += 1

    def leave(self) -> None:
        with self._change:
            self._turns -= 1
            self._change.notify_all()

    def step(self, asked: Asked) -> StepResult:
        """Waits for the others that are in a turn; the last one to come runs the batch."""
        with self._change:
            self._waiting.append(asked)
            try:
                while not asked.done and len(self._waiting) < self._turns:
                    self._change.wait()
                batch = [] if asked.done else self._waiting
                if batch:
                    self._waiting = []
            except BaseException:  # Ctrl-C: nobody runs it any more, or its answer is not wanted
                if asked in self._waiting:
                    self._waiting.remove(asked)
                raise
        if batch:
            self.run(batch)
        if asked.error is not None:
            raise asked.error
        if asked.result is None:
            raise AUNetError("the step that was shared with another stream was interrupted; push the frame again")
        return asked.result

    def run(self, batch: Sequence[Asked]) -> None:
        """All these steps, of a port each, in as few runs of the engine as it can; their results or errors are in
        them."""
        try:
            with self.lock:
                for part in self._parts(batch):
                    try:
                        self._run(part)
                    except Exception as error:
                        for asked in part:
                            asked.error = error
        finally:
            with self._change:
                self.steps += len(batch)
                for asked in batch:
                    asked.done = True
                self._change.notify_all()

    def _parts(self, batch: Sequence[Asked]) -> Iterable[list[Asked]]:
        """As few runs as the engine's largest batch allows."""
        part: list[Asked] = []
        for asked in batch:
            if part and sum(each.n_new for each in part) + asked.n_new > self.engine.max_faces:
                yield part
                part = []
            part.append(asked)
        if part:
            yield part

    def _run(self, part: Sequence[Asked]) -> None:
        """One step of the engine: first the rows with crops, port by port, then the questions about kept frames."""
        crops, first = self.engine.crops, 0
        head: list[Query | None] = []
        tail: list[Query | None] = []
        former: list[Slot | None] = []
        references: list[np.ndarray | None] = []
        rest: list[np.ndarray | None] = []
        for asked in part:
            crops[first : first + asked.n_new] = asked.port.crops[: asked.n_new]
            first += asked.n_new
            head += asked.queries[: asked.n_new]
            tail += asked.queries[asked.n_new :]
            former += asked.causal if asked.causal is not None else [None] * asked.n_new
            references += asked.references if asked.references is not None else [None] * asked.n_new
            rest += asked.references if asked.references is not None else [None] * asked.n_new
        wants_causal = any(asked.causal is not None for asked in part)
        self.batches += 1
        given = {"references": rest} if any(each is not None for each in rest) else {}
        result = self.engine.step(first, head + tail, former if wants_causal else None, self.states, **given)
        row, extra = 0, first
        for asked in part:
            rows, extras = slice(row, row + asked.n_new), slice(extra, extra + len(asked.queries) - asked.n_new)
            heatmaps = asked.port.heatmaps[: asked.n_new]
            heatmaps[...] = result.heatmaps[rows]
            causal = result.logits_causal if asked.causal is not None else None
            asked.result = StepResult(
                heatmaps,
                np.concatenate([result.logits[rows], result.logits[extras]]),
                None if causal is None else causal[rows],
                result.slots[rows],
            )
            row, extra = rows.stop, extras.stop


class JointPort:
    """The engine of one stream among several; see StreamEngine. It is also the stream's lock: who holds it is in a
    turn."""

    def __init__(self, joint: JointEngine, max_faces: int | None = None) -> None:
        engine = joint.engine
        self._joint = joint
        self._lock = threading.RLock()
        self.bundle, self.name = engine.bundle, engine.name
        self.max_faces = min(max_faces or engine.max_faces, engine.max_faces)
        side = self.bundle.resolution
        self.crops = np.zeros((self.max_faces, 3, side, side), np.float32)
        self.heatmaps = np.zeros((self.max_faces, 68, side // 4, side // 4), np.float32)

    @property
    def providers(self) -> tuple[str, ...]:
        return self._joint.engine.providers

    def open_states(self, fps: float | None = None) -> StreamStates:
        return _Shared(self._joint.states)

    def step(
        self,
        n_new: int,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
        references: Sequence[np.ndarray | None] | None = None,
    ) -> StepResult:
        return self._joint.step(Asked(self, n_new, queries, causal, references))

    def query(self, queries: Sequence[Query], states: StreamStates | None = None) -> np.ndarray:
        with self._joint.lock:
            return self._joint.engine.query(queries, self._joint.states)

    def close(self) -> None:
        """The engine belongs to the detector."""

    def __enter__(self) -> JointPort:
        self._lock.acquire()
        self._joint.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._joint.leave()
        self._lock.release()


class _Shared:
    """The common states as one stream sees them: its rows are free when it has dropped its slots."""

    def __init__(self, states: StreamStates) -> None:
        self._states = states

    def holds(self, slot: Slot, role: str) -> bool:
        return self._states.holds(slot, role)

    def settle(self, slots: Iterable[Slot]) -> None:
        self._states.settle(slots)

    def read(self, slot: Slot) -> tuple[np.ndarray, ...]:
        """See RingStates (engines/states.py)."""
        return read_states(self._states, slot)

    def close(self) -> None:
        """The others go on."""
