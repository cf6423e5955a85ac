"""The engine `triton`: steps go to a Triton Inference Server, which keeps the states; nothing heavy runs here."""

from __future__ import annotations

import itertools
import secrets
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...bundle import Bundle
from ...errors import AUNetError, BackendUnavailable, EngineMismatch, InvalidInput
from ..base import NEW, Frame, Query, Slot, StepResult, StreamStates
from ..ring_engine import check_faces, load_bundle
from . import wire
from .connection import Connection
from .states import TritonStates

__all__ = ["TritonStreamEngine", "describe"]

_GONE = "must specify the START flag"
"""what Triton says of a sequence that it does not know: it was started anew, or gave the sequence up"""


def describe() -> str:
    """Version of the client library, or why it cannot be used."""
    try:
        return Connection.describe()
    except BackendUnavailable as error:
        return f"not available: {error}"


class TritonStreamEngine:
    """StreamEngine (engines/base.py) in a Triton Inference Server with the model repository of `python -m export
    --triton`. Results are those of the engine that the server runs.

    A step that fails, since the server is gone or too slow, may be repeated. A server that was started anew, or that
    gave the stream up after a pause, no longer has its states: such a step raises EngineMismatch once where it asks for
    earlier frames, and later ones go on with less context until the buffer is full again.

    Args:
        bundle: what the server runs; its metadata is needed here, its graph is not. None: the default bundle.
        max_faces: crops per step.
        url: HOST:PORT of the server's gRPC.
        timeout_s: that the server may take for an answer.
        ssl: encrypt the connection; the server's certificate is checked against the system's.
        model_name: of the model in the repository.

    Raises InvalidInput, BackendUnavailable (no tritonclient, no such server), EngineMismatch (another bundle there).
    """

    name = "triton"

    def __init__(
        self,
        bundle: Bundle | str | Path | None = None,
        *,
        max_faces: int = 8,
        url: str = "localhost:8001",
        timeout_s: float = 10.0,
        ssl: bool = False,
        model_name: str = wire.MODEL,
    ) -> None:
        check_faces(max_faces)
        self.bundle, _ = load_bundle(bundle, "stream")
        self.max_faces = max_faces
        self._connection: Connection | None = Connection(url, model_name, timeout_s, ssl)
        try:
            self._check_model(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self.providers: tuple[str, ...] = (f"{model_name} at {url}",)
        side = self.bundle.resolution
        self.crops = np.zeros((max_faces, 3, side, side), np.float32)
        self._numbers = itertools.count()
        self._frame = 0
        self._default: TritonStates | None = None
        self._opened: weakref.WeakSet[TritonStates] = weakref.WeakSet()

    def open_states(self, fps: float | None = None) -> TritonStates:
        """See StreamEngine; the server lays its states out by itself."""
        self._open_connection()
        states = TritonStates(self)
        self._opened.add(states)
        return states

    def step(
        self,
        n_new: int,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
        references: Sequence[np.ndarray | None] | None = None,
    ) -> StepResult:
        """See StreamEngine."""
        chosen = self._chosen(states)
        if not 0 <= n_new <= self.max_faces:
            raise InvalidInput(f"n_new: expected 0 to {self.max_faces} (max_faces), got {n_new}")
        for name, given in (("causal", causal), ("references", references)):
            if given is not None and len(given) != n_new:
                raise InvalidInput(f"{name}: expected {n_new} entries, one per crop, got {len(given)}")
        asked = [(row, query) for row, query in enumerate(queries) if query is not None]
        numbers = list(itertools.islice(self._numbers, n_new))
        tensors: dict[str, np.ndarray] = {}
        if n_new:
            tensors |= {"CROPS": self.crops[:n_new], "SLOTS": np.array(numbers, np.int64)}
        if asked:
            tensors["QUERIES"] = self._rows_of(chosen, asked, n_new)
            if self.bundle.reference:
                tensors["REFERENCES"] = _references([query.reference for _, query in asked])
        if causal:
            former = [wire.NEW if slot is None else self._number(chosen, slot, "former") for slot in causal]
            tensors["CAUSAL"] = np.array(former, np.int64)
            if self.bundle.reference and references is not None:
                tensors["CAUSAL_REFERENCES"] = _references(references)
        answer = self._ask(chosen, tensors, numbers) if tensors else {}
        logits = np.full((len(queries), self.bundle.answers), np.nan, np.float32)
        if asked:
            logits[[row for row, _ in asked]] = answer["LOGITS"]
        side = self.bundle.resolution // 4
        heatmaps = answer.get("HEATMAPS", np.empty((0, 68, side, side), np.float32))
        ahead = None if causal is None else answer.get("CAUSAL_LOGITS", np.empty((0, self.bundle.answers), np.float32))
        slots = chosen.add(numbers, self._frame)
        self._frame += 1
        chosen.told(answer.get("HELD", np.empty((0, 2), np.int64)))
        if states is None:
            chosen.settle(slots[row] if query.due is NEW else query.due for row, query in asked)
        return StepResult(heatmaps, logits, ahead, slots)

    def query(self, queries: Sequence[Query], states: StreamStates | None = None) -> np.ndarray:
        """See StreamEngine."""
        return self.step(0, queries, states=states).logits

    def end(self, states: TritonStates) -> None:
        """Tell the server that a stream is over; where it cannot be reached, it finds out by itself."""
        if states.sequence and self._connection is not None:
            self._connection.end(states.sequence)

    def close(self) -> None:
        """Give the streams and the connection back; see StreamEngine."""
        if self._connection is not None:
            for states in list(self._opened):
                states.close()
            self._connection.close()
            self._connection = self._default = None

    def __enter__(self) -> TritonStreamEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_model(self, connection: Connection) -> None:
        served = connection.parameter(wire.PARAMETER)
        if served is None:
            raise EngineMismatch(
                f"expected a model that `python -m export --triton` wrote, got {connection}, whose configuration does "
                f"not say which bundle it is; write the repository anew, or name another model_name"
            )
        other, own = Bundle.from_json(served), self.bundle
        for name in (
            "checkpoint_sha256",
            "arithmetic",
            "au_numbers",
            "resolution",
            "reference",
            "intensity",
            "precision",
        ):
            if getattr(other, name) != getattr(own, name):
                raise EngineMismatch(
                    f"expected {connection} to serve {own.name} ({name} {getattr(own, name)!r}), got {other.name} "
                    f"({getattr(other, name)!r}); give the bundle that the server runs as `model`"
                )

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")
        return self._connection

    def _chosen(self, states: StreamStates | None) -> TritonStates:
        self._open_connection()
        if states is None:
            if self._default is None:
                self._default = self.open_states()
            return self._default
        if not isinstance(states, TritonStates) or states not in self._opened:
            raise InvalidInput("states: expected open ones of this engine, got others; use open_states")
        return states

    def _rows_of(self, states: TritonStates, asked: Sequence[tuple[int, Query]], n_new: int) -> np.ndarray:
        rows = np.empty((len(asked), 4), np.int64)
        for i, (row, query) in enumerate(asked):
            frames: dict[str, Frame] = {"former": query.former, "due": query.due, "later": query.later}
            if row >= n_new and NEW in frames.values():
                raise InvalidInput(
                    f"queries: expected slots alone in row {row}, which has no crop ({n_new} new), got NEW"
                )
            rows[i, 0] = row
            for k, (role, frame) in enumerate(frames.items(), 1):
                rows[i, k] = wire.NEW if frame is NEW else self._number(states, frame, role)
        return rows

    @staticmethod
    def _number(states: TritonStates, slot: Slot, role: str) -> int:
        if not states.holds(slot, role):
            raise EngineMismatch(
                f"expected a slot whose state the server has, got {slot} as {role}; its stream was begun anew, or the "
                "slot is another engine's"
            )
        return slot.row

    def _ask(self, states: TritonStates, tensors: dict[str, np.ndarray], numbers: list[int]) -> dict[str, np.ndarray]:
        """The server's answer, its errors by our names. What failed may have been done there all the same: its slots
        are released."""
        connection = self._open_connection()
        start = not states.begun
        states.sequence = states.sequence or secrets.randbits(63) | 1
        settled, released = list(states.settled), list(states.released)
        for name, each in (("SETTLED", settled), ("RELEASED", released)):
            if each:
                tensors[name] = np.array(each, np.int64)
        outputs = ["HELD", *(["HEATMAPS"] if numbers else []), *(["LOGITS"] if "QUERIES" in tensors else [])]
        outputs += ["CAUSAL_LOGITS"] if "CAUSAL" in tensors else []
        try:
            answer = connection.infer(states.sequence, start, tensors, outputs)
        except AUNetError as error:
            if _GONE in str(error):
                states.forget()
                frames = [tensors[name] for name in ("QUERIES", "CAUSAL") if name in tensors]
                if any((each[:, 1:] if each.ndim == 2 else each).max() != wire.NEW for each in frames if len(each)):
                    raise EngineMismatch(
                        f"expected {connection} to have this stream's states, got a server that was started anew or "
                        "gave them up after a pause; push the frame again"
                    ) from error
                for name in ("SETTLED", "RELEASED"):
                    tensors.pop(name, None)
                return self._ask(states, tensors, numbers)
            if start:
                states.forget(number_too=False)
            states.released += numbers
            raise
        states.begun = True
        del states.settled[: len(settled)], states.released[: len(released)]
        return answer


def _references(each: Sequence[np.ndarray | None]) -> np.ndarray:
    """(n, 68, 2) float32, NaN where there is none."""
    rows = np.full((len(each), 68, 2), np.nan, np.float32)
    for row, reference in zip(rows, each, strict=True):
        if reference is not None:
            row[...] = reference
    return rows
