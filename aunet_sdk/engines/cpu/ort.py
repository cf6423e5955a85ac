"""ONNX Runtime: the `stream` graph with states that stay where they are computed, and a runner for `clip` graphs.

All inputs and outputs are bound by address once and again only when a count or an address changes. Per step ONNX
Runtime writes the new states straight into the rings, and the host touches a few integers. CPU alone: cuda/ort.py has
the GPU, where a bound input is copied when it is bound.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle import Bundle
from ...errors import BackendUnavailable, BundleMismatch, InvalidInput, ModelError
from ..failures import foreign_failure
from ..ort_wheel import import_runtime
from ..ring import Ring
from ..ring_engine import RingEngine, check_faces, check_fps, index_names, load_bundle

__all__ = ["OrtClip", "OrtStreamEngine", "describe"]

_PROVIDER = "CPUExecutionProvider"
_ORT_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


def describe() -> str:
    """Version and providers of the ONNX Runtime that is installed, or why it cannot be used."""
    try:
        ort = import_runtime(gpu=False)
    except BackendUnavailable as error:
        return f"not available: {error}"
    providers = [name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()]
    return f"{ort.__version__} ({', '.join(providers)})"


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _session(path: Path, threads: int | None, spinning: bool) -> Any:
    """A session on the CPU. Raises InvalidInput, BackendUnavailable or ModelError."""
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InvalidInput(f"threads: expected a whole number from 1 on or None, got {threads!r}")
    ort = import_runtime(gpu=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = min(4, _usable_cores()) if threads is None else threads
    options.inter_op_num_threads = 1
    # Threads that spin between frames would keep the robot's cores busy for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=[_PROVIDER])
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise ModelError(
            f"expected a graph that ONNX Runtime {ort.__version__} can run, got {path.name}: {error}; export it again"
        ) from error


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


class OrtStreamEngine(RingEngine):
    """StreamEngine (engines/base.py) on ONNX Runtime's CPU provider.

    Args:
        bundle: a `stream` bundle, its path, or None for the default one.
        max_faces: crops per step.
        threads: of the session; None: the usable cores, at most 4.
        spinning: let idle threads spin, which lowers the latency a little and keeps the cores busy.
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
        fps: float = 30.0,
    ) -> None:
        check_faces(max_faces)
        check_fps(fps)
        self.bundle, path = load_bundle(bundle, "stream")
        self.max_faces = max_faces
        self._session: Any = _session(path, threads, spinning)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._check_graph()

        self._max_queries = max(32, 2 * max_faces)
        self._lay_out()
        self._fps = fps
        self._no_state = tuple(Ring(s, 1, 1) for s in self.bundle.state)
        self._binding: Any = self._session.io_binding()
        self._bound: dict[str, tuple[int, int]] = {}
        self._rows: weakref.WeakKeyDictionary[Ring, tuple[int, dict[tuple[int, int], Any]]] = (
            weakref.WeakKeyDictionary()
        )
        # asked for once: `ctypes` makes objects with every call
        self._crops_at = [(array, array.ctypes.data) for array in (self._no_crop, self.crops)]
        self._heatmaps_at = [(array, array.ctypes.data) for array in (self._no_heatmaps, self._heatmaps)]
        self._indices_at = [index.ctypes.data for index in self._indices]
        self._references_at, self._logits_at = self._references.ctypes.data, self._logits.ctypes.data

    def _check_graph(self) -> None:
        b, side, n = self.bundle, self.bundle.resolution // 4, self.bundle.answers
        inputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "crop": ("float32", (None, 3, b.resolution, b.resolution))
        }
        if b.reference:
            inputs["reference"] = ("float32", (None, 68, 2))
        outputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "heatmaps": ("float32", (None, 68, side, side)), "logits": ("float32", (None, n)),
        }  # fmt: skip
        for s in b.state:
            inputs |= {f"{s.name}_{role}": ("int64", (None,)) for role in s.roles}
            inputs[f"ring_{s.name}"] = outputs[s.name] = (s.dtype, (None, *s.shape))
        _require("input", inputs, self._session.get_inputs())
        _require("output", outputs, self._session.get_outputs())

    def close(self) -> None:
        """Free session and rings; see StreamEngine."""
        self._session = self._binding = None
        self._close_states()

    def _check_open(self) -> None:
        if self._session is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")

    def _execute(self, n_new: int, count: int, starts: Sequence[int], rings: Sequence[Ring]) -> None:
        """See RingEngine."""
        batch = max(n_new, 1)
        (crops, crops_at), (heatmaps, heatmaps_at) = self._crops_at[n_new > 0], self._heatmaps_at[n_new > 0]
        self._bind("input", "crop", crops_at, np.float32, (batch, *crops.shape[1:]))
        self._bind("output", "heatmaps", heatmaps_at, np.float32, (batch, *heatmaps.shape[1:]))
        for index_at, (*_, name) in zip(self._indices_at, index_names(self.bundle), strict=True):
            self._bind("input", name, index_at, np.int64, (count,))
        if self.bundle.reference:
            self._bind("input", "reference", self._references_at, np.float32, (count, 68, 2))
        self._bind("output", "logits", self._logits_at, np.float32, (count, self._logits.shape[1]))
        for i, ring in enumerate(rings):
            target, start = (ring, starts[i]) if n_new else (self._no_state[i], 0)
            name, shape = ring.spec.name, ring.spec.shape
            self._bind("input", f"ring_{name}", ring.pointer, ring.dtype, (ring.rows, *shape))
            self._bind_rows(name, target, start, batch)
        self._session.run_with_iobinding(self._binding)

    def _bind(self, side: str, name: str, pointer: int, dtype: Any, shape: tuple[int, ...]) -> None:
        if self._bound.get(name) != (pointer, shape[0]):
            bind = self._binding.bind_input if side == "input" else self._binding.bind_output
            bind(name, "cpu", 0, dtype, shape, pointer)
            self._bound[name] = (pointer, shape[0])

    def _bind_rows(self, name: str, ring: Ring, start: int, count: int) -> None:
        """A state's output, which goes to other rows with every step. A value that knows its place is made once per
        place: binding it takes a tenth of what binding an address takes."""
        pointer, values = self._rows.get(ring, (0, {}))
        if pointer != ring.pointer:  # a new ring, or one that has grown
            values = {}
            self._rows[ring] = ring.pointer, values
        value = values.get((start, count))
        if value is None:
            make = import_runtime(gpu=False).OrtValue.ortvalue_from_numpy
            value = values[start, count] = make(ring.tensor[start : start + count])
        self._binding.bind_ortvalue_output(name, value)


class OrtClip:
    """Runner of a `clip` bundle: three crops per face at once, nothing kept. For checks and one-off use."""

    def __init__(self, bundle: Bundle | str | Path, *, threads: int | None = None) -> None:
        self.bundle, path = load_bundle(bundle, "clip")
        self._session = _session(path, threads, spinning=False)
        side, n = self.bundle.resolution, self.bundle.answers
        inputs: dict[str, tuple[str, tuple[int | None, ...]]] = {"crops": ("float32", (None, 3, 3, side, side))}
        if self.bundle.reference:
            inputs["reference"] = ("float32", (None, 68, 2))
        _require("input", inputs, self._session.get_inputs())
        outputs: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "heatmaps": ("float32", (None, 68, side // 4, side // 4)), "logits": ("float32", (None, n)),
        }  # fmt: skip
        _require("output", outputs, self._session.get_outputs())

    def __call__(self, crops: np.ndarray, reference: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """crops (B, 3 frames, 3, R, R) float32 RGB in [0, 1], order former, due, later; reference (B, 68, 2) float32 as
        in Query, for a bundle that reads it, None: not known.

        Returns heatmaps (B, 68, R/4, R/4) of the due frame and logits (B, bundle.answers), both float32. Raises
        InvalidInput.
        """
        side = self.bundle.resolution
        if crops.ndim != 5 or crops.shape[1:] != (3, 3, side, side) or crops.dtype != np.float32 or len(crops) == 0:
            raise InvalidInput(
                f"crops: expected float32 (B, 3, 3, {side}, {side}), B > 0, got {crops.dtype} {crops.shape}"
            )
        feed = {"crops": crops}
        if self.bundle.reference:
            feed["reference"] = np.zeros((len(crops), 68, 2), np.float32) if reference is None else reference
        try:
            heatmaps, logits = self._session.run(["heatmaps", "logits"], feed)
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise foreign_failure("ONNX Runtime to run a clip graph", error, "use fewer crops at once") from error
        return heatmaps, logits
