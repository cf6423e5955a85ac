"""What engines with state rings have in common: queries become indices, rows are found, answers go back in order.

An engine derives from RingEngine, fills the attributes named there and implements `_execute`.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..bundle import Bundle
from ..errors import AUNetError, BundleMismatch, EngineMismatch, InvalidInput
from .base import NEW, Frame, Query, Slot, StepResult, StreamStates
from .failures import foreign_failure
from .ring import Ring, initial_rows, most_rows
from .states import RingStates

__all__ = ["RingEngine", "check_faces", "check_fps", "index_names", "load_bundle"]

E = TypeVar("E", bound="RingEngine")
POINTS = 68


def load_bundle(bundle: Bundle | str | Path | None, kind: str) -> tuple[Bundle, Path]:
    """The bundle and its file. Raises BundleMismatch for another kind, InvalidInput where it has no file."""
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if bundle.kind != kind:
        raise BundleMismatch(
            f"expected a {kind} bundle, got {bundle.name}, a {bundle.kind} bundle; export it with --kind {kind}"
        )
    if bundle.path is None:
        raise InvalidInput("expected a bundle loaded from a file, got one without a path; use Bundle.load")
    return bundle, bundle.path


def check_faces(max_faces: int) -> None:
    """InvalidInput where it is no count."""
    if isinstance(max_faces, bool) or not isinstance(max_faces, int) or max_faces < 1:
        raise InvalidInput(f"max_faces: expected a whole number from 1 on, got {max_faces!r}")


def check_fps(fps: float) -> None:
    """InvalidInput where rings cannot be laid out for it."""
    if isinstance(fps, bool) or not isinstance(fps, Real) or not 0 < fps <= 240:
        raise InvalidInput(f"fps: expected a number above 0, at most 240, got {fps!r}")


def index_names(bundle: Bundle) -> tuple[tuple[int, str, str], ...]:
    """(number of the state, role, name of the index input), in the graph's order."""
    return tuple((i, role, f"{state.name}_{role}") for i, state in enumerate(bundle.state) for role in state.roles)


class RingEngine(ABC):
    """step and query of StreamEngine (engines/base.py) over `_execute`.

    What a deriving class sets:
        bundle, max_faces; _fps: that rings are first laid out for; _max_queries: rows of one run, at least 2 max_faces
        crops; _indices int64 (index inputs, >= _max_queries), _logits float32 (>= _max_queries, bundle.answers),
        _references float32 (>= _max_queries, 68, 2; without rows where the bundle reads none): one row per query;
        _heatmaps float32 (max_faces, 68, R/4, R/4): by `_lay_out`, or elsewhere in memory by itself

    timed: whether `copy_ms` is to be measured where that costs something
    copy_ms: (in, out) milliseconds that the last step or query spent on copies to the engine's device and back. It
        stays (0, 0) for the engines on the CPU, which read crops and write results in place: nothing is copied.
    """

    bundle: Bundle
    name: str
    max_faces: int
    crops: np.ndarray
    _fps: float
    _max_queries: int
    _indices: np.ndarray
    _logits: np.ndarray
    _references: np.ndarray
    _heatmaps: np.ndarray
    _no_crop: np.ndarray
    _no_heatmaps: np.ndarray
    _frame = 0
    _default: RingStates | None = None
    _opened: weakref.WeakSet[RingStates] | None = None
    timed: bool = False
    copy_ms: tuple[float, float] = (0.0, 0.0)

    @abstractmethod
    def _execute(self, n_new: int, count: int, starts: Sequence[int], rings: Sequence[Ring]) -> None:
        """Run the graph on `crops[:n_new]` and on `_indices[:, :count]`.

        n_new >= 1: heatmaps go to `_heatmaps`, the states to row `starts[i]` and on of `rings[i]`. n_new == 0: neither
        is touched, the queries alone are answered. The logits go to `_logits[:count]`; count may be 0.
        """

    def _new_rings(self, fps: float) -> tuple[Ring, ...]:
        """One ring per state, laid out for one face at this rate; in ordinary memory, unless an engine says where."""
        b = self.bundle
        return tuple(
            Ring(s, initial_rows(s, b.interval_s, fps), most_rows(s, b.interval_s, self.max_faces)) for s in b.state
        )

    def _retire(self) -> Callable[[tuple[Ring, ...]], object] | None:
        """What takes rings back that are no longer wanted, in any thread; it must not hold the engine. None: they are
        ordinary memory."""
        return None

    @abstractmethod
    def close(self) -> None:
        """See StreamEngine."""

    def __enter__(self: E) -> E:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lay_out(self) -> None:
        """Buffers in ordinary memory, and an empty crop with its heatmaps for runs of queries alone."""
        side, n = self.bundle.resolution, self.bundle.answers
        self.crops = np.zeros((self.max_faces, 3, side, side), np.float32)
        self._heatmaps = np.zeros((self.max_faces, 68, side // 4, side // 4), np.float32)
        self._logits = np.zeros((self._max_queries, n), np.float32)
        self._indices = np.zeros((len(index_names(self.bundle)), self._max_queries), np.int64)
        self._references = np.zeros((self._max_queries if self.bundle.reference else 0, POINTS, 2), np.float32)
        self._no_crop, self._no_heatmaps = np.zeros_like(self.crops[:1]), np.zeros_like(self._heatmaps[:1])

    @abstractmethod
    def _check_open(self) -> None:
        """InvalidInput where the engine was closed."""

    @property
    def _rings(self) -> tuple[Ring, ...]:
        """Those of the set for callers with a single stream; empty after `close`."""
        try:
            return self._chosen(None).rings
        except InvalidInput:
            return ()

    def open_states(self, fps: float | None = None) -> RingStates:
        """See StreamEngine."""
        self._check_open()
        if fps is not None:
            check_fps(fps)
        states = RingStates(self._new_rings(self._fps if fps is None else fps), self._retire())
        self._opened = weakref.WeakSet() if self._opened is None else self._opened
        self._opened.add(states)
        return states

    def _chosen(self, states: StreamStates | None) -> RingStates:
        """The caller's states, or those that the engine keeps. InvalidInput where they are not this engine's."""
        if states is None:
            if self._default is None:
                self._default = self.open_states()
                self._default.settles = True
            return self._default
        if not isinstance(states, RingStates) or states not in (self._opened or ()) or not states.rings:
            raise InvalidInput("states: expected open ones of this engine, got others; use open_states")
        return states

    def _close_states(self) -> None:
        """For `close`: all rings are given back."""
        for states in list(self._opened or ()):
            states.close()
        self._default = None

    def step(
        self,
        n_new: int,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
        references: Sequence[np.ndarray | None] | None = None,
    ) -> StepResult:
        """See StreamEngine."""
        self._check_open()
        chosen = self._chosen(states)
        self.copy_ms = 0.0, 0.0
        if not 0 <= n_new <= self.max_faces:
            raise InvalidInput(f"n_new: expected 0 to {self.max_faces} (max_faces), got {n_new}")
        if causal is not None and len(causal) != n_new:
            raise InvalidInput(f"causal: expected {n_new} entries, one per crop, got {len(causal)}")
        if references is not None and len(references) != n_new:
            raise InvalidInput(f"references: expected {n_new} entries, one per crop, got {len(references)}")
        known = references or [None] * n_new
        logits = np.empty((len(queries), self.bundle.answers), np.float32)
        logits.fill(np.nan)
        final = [(i, query) for i, query in enumerate(queries) if query is not None]
        ahead = [
            (i, Query(NEW if former is None else former, NEW, NEW, known[i])) for i, former in enumerate(causal or ())
        ]
        if len(final) + len(ahead) > self._max_queries:  # those of kept frames alone are answered before
            early = [(i, query) for i, query in final if i >= n_new]
            final = final[: len(final) - len(early)]
            logits[[i for i, _ in early]] = self._answer(early, chosen)
        slots = self._run(n_new, final + ahead, chosen.rings) if n_new or final else []
        if chosen.settles:
            chosen.settle(slots[i] if query.due is NEW else query.due for i, query in final)
        for row, (i, _) in enumerate(final):  # for a few rows a tenth of what an index of them all takes
            logits[i] = self._logits[row]
        logits_causal = None if causal is None else self._logits[len(final) : len(final) + n_new].copy()
        return StepResult(self._heatmaps[:n_new], logits, logits_causal, slots)

    def query(self, queries: Sequence[Query], states: StreamStates | None = None) -> np.ndarray:
        """See StreamEngine. One run of the graph with an empty crop per `_max_queries` queries."""
        self._check_open()
        self.copy_ms = 0.0, 0.0
        return self._answer(list(enumerate(queries)), self._chosen(states))

    def _add_copies(self, in_ms: float, out_ms: float) -> None:
        """For `_execute`, which may run more than once in a step."""
        self.copy_ms = self.copy_ms[0] + in_ms, self.copy_ms[1] + out_ms

    def _answer(self, asked: Sequence[tuple[int, Query]], states: RingStates) -> np.ndarray:
        logits = np.empty((len(asked), self.bundle.answers), np.float32)
        for start in range(0, len(asked), self._max_queries):
            part = asked[start : start + self._max_queries]
            self._run(0, part, states.rings)
            logits[start : start + len(part)] = self._logits[: len(part)]
        if states.settles:
            states.settle(query.due for _, query in asked if query.due is not NEW)
        return logits

    def _run(self, n_new: int, asked: Sequence[tuple[int, Query]], rings: Sequence[Ring]) -> list[Slot]:
        """Run the graph on n_new crops and the (crop, query) pairs; their logits are then in `_logits`, row by row."""
        reading = self._resolve(n_new, asked, rings)
        try:
            starts = [ring.take(n_new, rows) for ring, rows in zip(rings, reading, strict=True)] if n_new else []
            self._execute(n_new, len(asked), starts, rings)
        except AUNetError:
            raise
        except Exception as error:  # a library's own, whose kinds share no base class
            raise foreign_failure(f"{self.name} to run a step", error, "repeat it, or open the engine anew") from error
        slots = [Slot(self._frame, row, tuple(start + row for start in starts)) for row in range(n_new)]
        for ring, start in zip(rings, starts, strict=False):
            ring.claim(start, slots)
        self._frame += 1
        return slots

    def _resolve(self, n_new: int, asked: Sequence[tuple[int, Query]], rings: Sequence[Ring]) -> list[set[int]]:
        """Fill `_indices`; the rows of each ring that will be read. InvalidInput, EngineMismatch."""
        reading: list[set[int]] = [set() for _ in rings]
        names = index_names(self.bundle)
        for j, (crop, query) in enumerate(asked):
            if len(self._references):
                self._references[j] = 0.0 if query.reference is None else query.reference
            frames: dict[str, Frame] = {"former": query.former, "due": query.due, "later": query.later}
            if crop >= n_new and NEW in frames.values():
                raise InvalidInput(
                    f"queries: expected slots alone in row {crop}, which has no crop ({n_new} new), got NEW"
                )
            for k, (i, role, name) in enumerate(names):
                slot = frames[role]
                if slot is NEW:
                    self._indices[k, j] = -1 - crop
                    continue
                row = slot.rows[i] if i < len(slot.rows) else -1
                if not rings[i].holds(slot, row):
                    raise EngineMismatch(
                        f"expected state {name} of {slot}, got a row given to another frame or another engine; "
                        "ask for a frame as due once, and hand slots to the engine that made them"
                    )
                self._indices[k, j] = row
                reading[i].add(row)
        return reading
