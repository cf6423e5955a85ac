"""ONNX Runtime: the `stream` graph with states that stay where they are computed, and a runner for `clip` graphs.

All inputs and outputs are bound by address once and again only when a count or an address changes. Per step ONNX
Runtime writes the new states straight into the rings, and the host touches a few integers.
Run here on the CPU alone; device "cuda" takes the same way with the rings on the GPU and has not been run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import BackendUnavailable, BundleMismatch, EngineMismatch, InvalidInput, ModelError
from .base import NEW, Frame, Query, Slot, StepResult
from .ring import Ring, initial_rows

__all__ = ["OrtClip", "OrtStreamEngine", "describe"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_INSTALL = 'install one of "aunet_sdk[cpu]" and "aunet_sdk[gpu]" (never both)'
_ORT_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


def describe() -> str:
    """Version and providers of the ONNX Runtime that is installed, or why there is none."""
    try:
        ort = _runtime()
    except BackendUnavailable as error:
        return f"not available: {error}"
    providers = [name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()]
    return f"{ort.__version__} ({', '.join(providers)})"


def _runtime() -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendUnavailable(f"expected ONNX Runtime, got {error}; {_INSTALL}") from error
    if not hasattr(ort, "InferenceSession"):
        raise BackendUnavailable(
            f"expected ONNX Runtime, got a broken installation of it; uninstall all of it, then {_INSTALL}"
        )
    return ort


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _session(path: Path, device: str, device_id: int, threads: int | None, spinning: bool) -> Any:
    """A session on exactly `device`. Raises InvalidInput, BackendUnavailable or ModelError."""
    if device not in _PROVIDERS:
        raise InvalidInput(f"device: expected one of {', '.join(_PROVIDERS)}, got {device!r}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InvalidInput(f"threads: expected a whole number from 1 on or None, got {threads!r}")
    ort = _runtime()
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise BackendUnavailable(
            f"expected {provider}, got an ONNX Runtime with {', '.join(ort.get_available_providers())}; {_INSTALL}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = min(4, _usable_cores()) if threads is None else threads
    options.inter_op_num_threads = 1
    # Threads that spin between frames would keep the robot's cores busy for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    chosen: list[Any] = (
        [provider] if device == "cpu" else [(provider, {"device_id": str(device_id)}), "CPUExecutionProvider"]
    )
    try:
        session = ort.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise ModelError(
            f"expected a graph that ONNX Runtime {ort.__version__} can run, got {path.name}: {error}; export it again"
        ) from error
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise BackendUnavailable(
            f"expected {provider}, got {session.get_providers()}: it failed to load; check its driver and libraries"
        )
    return session


def _signature(values: Sequence[Any]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """name -> dtype and shape, None where dynamic."""
    return {
        v.name: (_ORT_TYPES.get(v.type, v.type), tuple(d if isinstance(d, int) else None for d in v.shape))
        for v in values
    }


def _require(where: str, expected: dict[str, tuple[str, tuple[int | None, ...]]], values: Sequence[Any]) -> None:
    got = _signature(values)
    if got != expected:
        wrong = sorted(k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k))[0]
        raise BundleMismatch(
            f"expected {where} {wrong} {expected.get(wrong)} by the metadata, got {got.get(wrong)}; export it again"
        )


def _load(bundle: Bundle | str | Path | None, kind: str) -> tuple[Bundle, Path]:
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if bundle.kind != kind:
        raise BundleMismatch(
            f"expected a {kind} bundle, got {bundle.name}, a {bundle.kind} bundle; export it with --kind {kind}"
        )
    if bundle.path is None:
        raise InvalidInput("expected a bundle loaded from a file, got one without a path; use Bundle.load")
    return bundle, bundle.path


class OrtStreamEngine:
    """StreamEngine (engines/base.py) on ONNX Runtime.

    Args:
        bundle: a `stream` bundle, its path, or None for the default one.
        max_faces: crops per step.
        threads: of the session; None: the usable cores, at most 4.
        spinning: let idle threads spin, which lowers the latency a little and keeps the cores busy.
        device: "cpu", or "cuda" with `device_id` (not run by the authors yet).
        fps: frame rate that the rings are first laid out for, one face; they grow on demand up to max_faces at 240 fps.

    Raises InvalidInput, ModelError, BundleMismatch, BackendUnavailable.
    """

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle | str | Path | None = None,
        *,
        max_faces: int = 8,
        threads: int | None = None,
        spinning: bool = False,
        device: str = "cpu",
        device_id: int = 0,
        fps: float = 30.0,
    ) -> None:
        if isinstance(max_faces, bool) or not isinstance(max_faces, int) or max_faces < 1:
            raise InvalidInput(f"max_faces: expected a whole number from 1 on, got {max_faces!r}")
        if not 0 < fps <= 240:
            raise InvalidInput(f"fps: expected a number above 0, at most 240, got {fps!r}")
        self.bundle, path = _load(bundle, "stream")
        self.max_faces = max_faces
        self._device = (device, device_id)
        session = _session(path, device, device_id, threads, spinning)
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._session: Any = session
        self._check_graph()

        b, side = self.bundle, self.bundle.resolution // 4
        self.crops = np.zeros((max_faces, 3, b.resolution, b.resolution), np.float32)
        self._heatmaps = np.zeros((max_faces, 68, side, side), np.float32)
        self._logits = np.zeros((32, len(b.au_numbers)), np.float32)  # rows: queries
        self._index_names = tuple((i, role, f"{s.name}_{role}") for i, s in enumerate(b.state) for role in s.roles)
        self._indices = np.zeros((len(self._index_names), 32), np.int64)
        self._rings = tuple(
            Ring(
                s, initial_rows(s, b.interval_s, fps), max_faces * initial_rows(s, b.interval_s, 240), device, device_id
            )
            for s in b.state
        )
        self._no_crop = np.zeros((1, 3, b.resolution, b.resolution), np.float32)
        self._no_heatmaps = np.zeros((1, 68, side, side), np.float32)
        self._no_state = tuple(Ring(s, 1, 1, device, device_id) for s in b.state)
        self._binding: Any = session.io_binding()
        self._bound: dict[str, tuple[int, int]] = {}
        self._frame = 0

    def _check_graph(self) -> None:
        b, side, n = self.bundle, self.bundle.resolution // 4, len(self.bundle.au_numbers)
        inputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "crop": ("float32", (None, 3, b.resolution, b.resolution))
        }
        outputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "heatmaps": ("float32", (None, 68, side, side)), "logits": ("float32", (None, n)),
        }  # fmt: skip
        for s in b.state:
            inputs |= {f"{s.name}_{role}": ("int64", (None,)) for role in s.roles}
            inputs[f"ring_{s.name}"] = outputs[s.name] = (s.dtype, (None, *s.shape))
        _require("input", inputs, self._session.get_inputs())
        _require("output", outputs, self._session.get_outputs())

    def __enter__(self) -> OrtStreamEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free session and rings; see StreamEngine."""
        self._session = self._binding = None
        self._rings = ()

    def step(
        self, n_new: int, queries: Sequence[Query | None] = (), causal: Sequence[Slot | None] | None = None
    ) -> StepResult:
        """See StreamEngine."""
        self._check_open()
        if not 0 <= n_new <= self.max_faces:
            raise InvalidInput(f"n_new: expected 0 to {self.max_faces} (max_faces), got {n_new}")
        if causal is not None and len(causal) != n_new:
            raise InvalidInput(f"causal: expected {n_new} entries, one per crop, got {len(causal)}")
        final = [(i, query) for i, query in enumerate(queries) if query is not None]
        ahead = [(i, Query(NEW if former is None else former, NEW, NEW)) for i, former in enumerate(causal or ())]
        slots = self._run(n_new, final + ahead) if n_new or final else []
        for i, query in final:
            due = slots[i] if query.due is NEW else query.due
            due.settled = True
        logits = np.full((len(queries), self._logits.shape[1]), np.nan, np.float32)
        logits[[i for i, _ in final]] = self._logits[: len(final)]
        logits_causal = None if causal is None else self._logits[len(final) : len(final) + n_new].copy()
        return StepResult(self._heatmaps[:n_new], logits, logits_causal, slots)

    def query(self, queries: Sequence[Query]) -> np.ndarray:
        """See StreamEngine. One pass of the network on an empty crop per 32 queries comes with it."""
        self._check_open()
        logits = np.empty((len(queries), self._logits.shape[1]), np.float32)
        for start in range(0, len(queries), 32):
            part = queries[start : start + 32]
            self._run(0, list(enumerate(part)))
            logits[start : start + len(part)] = self._logits[: len(part)]
        for query in queries:
            query.due.settled = True  # type: ignore[union-attr]  # _run lets no NEW through
        return logits

    def _check_open(self) -> None:
        if self._session is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")

    def _run(self, n_new: int, asked: Sequence[tuple[int, Query]]) -> list[Slot]:
        """Run the graph on n_new crops and the (crop, query) pairs; their logits are then in `_logits`, row by row."""
        count = len(asked)
        if count > self._indices.shape[1]:
            self._indices = np.zeros((len(self._index_names), 2 * count), np.int64)
            self._logits = np.zeros((2 * count, self._logits.shape[1]), np.float32)
        reading = self._resolve(n_new, asked)
        for index, (_, _, name) in zip(self._indices, self._index_names, strict=True):
            self._bind_input(name, index.ctypes.data, np.int64, (count,))
        crops, heatmaps = (self.crops, self._heatmaps) if n_new else (self._no_crop, self._no_heatmaps)
        self._bind_input("crop", crops.ctypes.data, np.float32, (max(n_new, 1), *crops.shape[1:]))
        self._bind_output("heatmaps", heatmaps.ctypes.data, np.float32, (max(n_new, 1), *heatmaps.shape[1:]))
        self._bind_output("logits", self._logits.ctypes.data, np.float32, (count, self._logits.shape[1]))
        starts = [ring.take(n_new, rows) for ring, rows in zip(self._rings, reading, strict=True)] if n_new else []
        for i, ring in enumerate(self._rings):
            target, start = (ring, starts[i]) if n_new else (self._no_state[i], 0)
            name, shape = ring.spec.name, ring.spec.shape
            self._bind_input(f"ring_{name}", ring.pointer, ring.dtype, (ring.rows, *shape), on_device=True)
            pointer = target.pointer + start * target.row_bytes
            self._bind_output(name, pointer, ring.dtype, (max(n_new, 1), *shape), on_device=True)
        self._session.run_with_iobinding(self._binding)
        slots = [Slot(self._frame, row, tuple(start + row for start in starts)) for row in range(n_new)]
        for ring, start in zip(self._rings, starts, strict=False):
            ring.claim(start, slots)
        self._frame += 1
        return slots

    def _resolve(self, n_new: int, asked: Sequence[tuple[int, Query]]) -> list[set[int]]:
        """Fill the index inputs; the rows of each ring that will be read. InvalidInput, EngineMismatch."""
        reading: list[set[int]] = [set() for _ in self._rings]
        for j, (crop, query) in enumerate(asked):
            frames: dict[str, Frame] = {"former": query.former, "due": query.due, "later": query.later}
            if crop >= n_new and NEW in frames.values():
                raise InvalidInput(
                    f"queries: expected slots alone in row {crop}, which has no crop ({n_new} new), got NEW"
                )
            for k, (i, role, name) in enumerate(self._index_names):
                slot = frames[role]
                if slot is NEW:
                    self._indices[k, j] = -1 - crop
                    continue
                row = slot.rows[i] if i < len(slot.rows) else -1
                if not self._rings[i].holds(slot, row):
                    raise EngineMismatch(
                        f"expected state {name} of {slot}, got a row given to another frame or another engine; "
                        "ask for a frame as due once, and hand slots to the engine that made them"
                    )
                self._indices[k, j] = row
                reading[i].add(row)
        return reading

    def _bind_input(self, name: str, pointer: int, dtype: Any, shape: tuple[int, ...], on_device: bool = False) -> None:
        if self._bound.get(name) != (pointer, shape[0]):
            device = self._device if on_device else ("cpu", 0)
            self._binding.bind_input(name, *device, dtype, shape, pointer)
            self._bound[name] = (pointer, shape[0])

    def _bind_output(
        self, name: str, pointer: int, dtype: Any, shape: tuple[int, ...], on_device: bool = False
    ) -> None:
        if self._bound.get(name) != (pointer, shape[0]):
            device = self._device if on_device else ("cpu", 0)
            self._binding.bind_output(name, *device, dtype, shape, pointer)
            self._bound[name] = (pointer, shape[0])


class OrtClip:
    """Runner of a `clip` bundle: three crops per face at once, nothing kept. For checks and one-off use."""

    def __init__(
        self, bundle: Bundle | str | Path, *, threads: int | None = None, device: str = "cpu", device_id: int = 0
    ) -> None:
        self.bundle, path = _load(bundle, "clip")
        self._session = _session(path, device, device_id, threads, spinning=False)
        side, n = self.bundle.resolution, len(self.bundle.au_numbers)
        _require("input", {"crops": ("float32", (None, 3, 3, side, side))}, self._session.get_inputs())
        outputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "heatmaps": ("float32", (None, 68, side // 4, side // 4)), "logits": ("float32", (None, n)),
        }  # fmt: skip
        _require("output", outputs, self._session.get_outputs())

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """crops (B, 3 frames, 3, R, R) float32 RGB in [0, 1], order former, due, later.

        Returns heatmaps (B, 68, R/4, R/4) of the due frame and logits (B, n), both float32. Raises InvalidInput.
        """
        side = self.bundle.resolution
        if crops.ndim != 5 or crops.shape[1:] != (3, 3, side, side) or crops.dtype != np.float32 or len(crops) == 0:
            raise InvalidInput(
                f"crops: expected float32 (B, 3, 3, {side}, {side}), B > 0, got {crops.dtype} {crops.shape}"
            )
        heatmaps, logits = self._session.run(["heatmaps", "logits"], {"crops": crops})
        return heatmaps, logits
