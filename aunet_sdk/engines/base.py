"""What every engine promises: one network step per video frame, state kept on the engine's device.

An engine runs the `stream` graph of a bundle (docs/architecture.md). The caller fills `crops`, calls `step`, keeps the
Slot of every face in its temporal buffer and hands slots back inside queries when their frame is due.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..bundle import Bundle

__all__ = ["NEW", "Frame", "Query", "Slot", "StepResult", "StreamEngine", "StreamStates"]


class _New(enum.Enum):
    """The frame of the query's own crop."""

    NEW = "NEW"


NEW: Literal[_New.NEW] = _New.NEW


class Slot:
    """One face of one frame, whose states the engine keeps for as long as somebody holds this object.

    Drop it (and with it every query and buffer entry that refers to it) and the engine uses its rows again. States that
    no `former` frame reads are given up earlier: once the slot is settled, that is, no longer asked about as due.

    frame: counter of the engine's steps; row: of the crop in that step
    rows: of each state's ring, in the order of `bundle.state`; settled: was due already. Both are the engine's own.
    """

    __slots__ = ("__weakref__", "frame", "row", "rows", "settled")

    def __init__(self, frame: int, row: int, rows: tuple[int, ...]) -> None:
        self.frame = frame
        self.row = row
        self.rows = rows
        self.settled = False

    def __repr__(self) -> str:
        return f"Slot(frame={self.frame}, row={self.row})"


Frame: TypeAlias = Slot | Literal[_New.NEW]


@dataclass(frozen=True)
class Query:
    """Which three frames decide about the due one; NEW is the frame of the crop in the query's own row.

    Where a neighbour is missing the due frame stands in: `Query(former=due, due=due, later=later)`.

    reference: (68, 2) float32, the person's points at rest in tenths of the eye distance (post/neutral.py), for a
    bundle that reads them; None: not known
    """

    former: Frame
    due: Frame
    later: Frame
    reference: np.ndarray | None = None


@dataclass(frozen=True)
class StepResult:
    """heatmaps (n_new, 68, R/4, R/4) float32, raw, a view of the engine's buffer: good until the next `step`
    logits (len(queries), bundle.answers) float32, NaN in the rows of queries that are None; a bundle with intensities
    has them in [0, 1] behind the logits
    logits_causal (n_new, bundle.answers) float32, or None where not asked for
    slots: one per crop
    """

    heatmaps: np.ndarray
    logits: np.ndarray
    logits_causal: np.ndarray | None
    slots: list[Slot]


@runtime_checkable
class StreamStates(Protocol):
    """The states of one stream of frames on an engine. Several of them never take each other's rows."""

    def holds(self, slot: Slot, role: str) -> bool:
        """Whether `slot` can still be used in this role ("former", "due" or "later") of a query. It cannot where its
        rows were given away, since more frames were kept than the states have room for."""
        ...

    def settle(self, slots: Iterable[Slot]) -> None:
        """These slots are no longer asked about as due: states that no former frame reads may go."""
        ...

    def close(self) -> None:
        """Give the memory back. The slots are worthless afterwards. May be called twice."""
        ...


@runtime_checkable
class StreamEngine(Protocol):
    """One engine serves one thread at a time, and any number of streams in turns, each with states of its own.

    bundle: whose graph runs; name: e.g. "onnxruntime"; providers: what really runs it, first choice first
    max_faces: crops per step; crops (max_faces, 3, R, R) float32 RGB in [0, 1], filled by the caller before `step`

    An engine may also have `copy_ms`, (in, out): milliseconds that the last `step` or `query` spent on copies to the
    device and back, and `timed`: set it to True where the measuring costs something; see RingEngine
    (engines/ring_engine.py).
    """

    @property
    def bundle(self) -> Bundle: ...

    @property
    def name(self) -> str: ...

    @property
    def providers(self) -> tuple[str, ...]: ...

    @property
    def max_faces(self) -> int: ...

    @property
    def crops(self) -> np.ndarray: ...

    def open_states(self, fps: float | None = None) -> StreamStates:
        """States for one more stream. They grow on demand; they go with `close`, or when nobody holds them any more.

        fps: frame rate that they are first laid out for, one face; None: the engine's own choice

        Raises OutOfDeviceMemory where the device has no room for them.
        """
        ...

    def step(
        self,
        n_new: int,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
        references: Sequence[np.ndarray | None] | None = None,
    ) -> StepResult:
        """Run the network on `crops[:n_new]`, keep the states of these faces, and answer queries.

        queries: row i < n_new may use NEW for crop i; rows beyond have slots. None asks for nothing, costs nothing
        causal: one former frame per crop, or None where it is missing (the new frame stands in); asks for the decision
        about the new frame itself, with the new frame standing in for the later one too
        states: where the new states go, and all slots of the queries come from. The caller settles the due slots when
        it has what it wanted; where a step fails, it may be repeated. None: one set that the engine keeps for callers
        with a single stream; there the engine settles the due slots of every query by itself

        references: one per crop, as in Query, for the decisions about the new frame itself; None: none is known

        Raises InvalidInput (counts, NEW in a row without a crop) and EngineMismatch (a slot whose state is gone).
        """
        ...

    def query(self, queries: Sequence[Query], states: StreamStates | None = None) -> np.ndarray:
        """Logits (len(queries), bundle.answers) float32 of frames that are already here (end of a video or a track),
        without NEW."""
        ...

    def close(self) -> None:
        """Give everything back. Slots of this engine are worthless afterwards. May be called twice."""
        ...
