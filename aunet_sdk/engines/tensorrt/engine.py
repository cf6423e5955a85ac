"""TensorRT: the `stream` graph as a plan (loader.py) that runs with pinned buffers, a stream of its own, CUDA graphs.

docs/engines/evidence.md says what of this was verified without a GPU. Every call here goes to a CudaApi (cuda/api.py)
and to the names listed in tensorrt/api.py.

A step: crops and indices go from pinned memory to fixed buffers, the plan runs, heatmaps and logits come back; the new
states go from their buffer into the rings by one copy on the device each, since a captured graph knows no other
addresses than those it was captured with.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from ...bundle import Bundle
from ...errors import InvalidInput
from ..base import Query, Slot
from ..cuda.api import CudaApi, DeviceInfo, OutOfDeviceMemory
from ..cuda.bindings import open_cuda
from ..cuda.copy_timer import CopyClock
from ..cuda.rings import DeviceRing
from ..parity import check_parity
from ..ring import Ring, initial_rows, state_bytes
from ..ring_engine import check_fps, index_names, load_bundle
from . import api as trt_api
from .build import BuildOptions, Progress
from .cache import PlanCache
from .loader import load_engine
from .profiles import max_queries, max_rows
from .progress import LoggedProgress
from .steps import TrtSteps

__all__ = ["TrtStreamEngine"]

log = logging.getLogger(__name__)

T = TypeVar("T")
_ALIGNMENT = 256  # bytes; TensorRT wants addresses on such boundaries


class TrtStreamEngine(TrtSteps):
    """StreamEngine (engines/base.py) on TensorRT, or on TensorRT-RTX where `library` says so.

    Args:
        bundle: a `stream` bundle, its path, or None for the default one.
        max_faces: crops per step; memory is laid out for it once.
        typical_faces: the count that kernels are chosen for where a plan is built.
        workspace_mb: scratch memory that the builder may give to a layer.
        tf32: let FP32 layers round to TF32.
        graphs: replay steps as CUDA graphs where the CUDA library can (cuda-bindings can, pycuda cannot).
        fps: frame rate that the rings are first laid out for, one face; they grow up to max_faces at 240 fps.
        library: "tensorrt", "tensorrt-rtx" or the module itself.
        cuda: "cuda-bindings", "pycuda" (in the context that is current in this thread) or a CudaApi.
        cache_dir: of the plans; None: aunet_sdk/engines in the user's cache folder.
        progress: called with what the builder is doing, from another thread; see build.Progress. None: a line in the
            log now and then (progress.py).
        exact: run no plan but one for these very options; False takes one that is there for more faces, or of another
            workspace or typical count, before it builds one.
        timed: measure `copy_ms` (ring_engine.py) by CUDA events in every step, replays of a graph included. May be set
            later, too; with it a step costs four events more, and a graph is captured anew.

    `plan` says which plan runs. One whose answers are not what the bundle says (engines/parity.py) is EngineMismatch.
    One thread of the engine's own makes all calls, so that the caller may change threads.
    Raises InvalidInput, ModelError, BundleMismatch, BackendUnavailable (no library, driver or GPU), EngineMismatch,
    OutOfDeviceMemory.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path | None = None,
        *,
        max_faces: int = 8,
        typical_faces: int = 1,
        workspace_mb: int = 1024,
        tf32: bool = False,
        graphs: bool = True,
        fps: float = 30.0,
        library: str | ModuleType = "tensorrt",
        cuda: str | CudaApi = "cuda-bindings",
        device_id: int = 0,
        cache_dir: str | Path | None = None,
        progress: Progress | None = None,
        exact: bool = False,
        timed: bool = False,
    ) -> None:
        options = BuildOptions(max_faces, typical_faces, workspace_mb, tf32)
        check_fps(fps)
        self._fps = fps
        self.bundle, path = load_bundle(bundle, "stream")
        self.max_faces = max_faces
        self.timed = timed
        self._max_queries = max_queries(max_faces)
        self._trt = trt_api.load(library)
        self._cuda = open_cuda(cuda, device_id) if isinstance(cuda, str) else cuda
        self.name = trt_api.library_name(self._trt).split()[0]
        self._wants_graphs = graphs and self._cuda.has_graphs
        self._stopping = False
        self._attached = False
        self._allocated: list[int] = []
        self._retired: deque[tuple[Ring, ...]] = deque()
        self._stream = self._graph = self._runs = 0
        self._clock: CopyClock | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        self._owner: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "aunet-tensorrt")
        try:
            self._call(self._open, path, options, PlanCache(cache_dir), progress, exact)
            check_parity(self, tf32=tf32)
        except BaseException:
            self._stopping = True  # a build that still goes on gives up at its next step
            self.close()
            raise

    @property
    def providers(self) -> tuple[str, ...]:
        """Library, version and GPU."""
        return (f"{self._library} on {self._gpu.name}",)

    @property
    def device(self) -> DeviceInfo:
        """The GPU."""
        return self._gpu

    @property
    def replays(self) -> bool:
        """Whether the last step was captured as a CUDA graph, which the next one of the same shape replays."""
        return bool(self._graph)

    def close(self) -> None:
        """Free everything on the device; see StreamEngine. `crops` stays readable for who still holds it."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.submit(self._release).result()
            owner.shutdown()

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        """In the owner's thread, which alone touches the context."""
        self._check_open()
        assert self._owner is not None
        return self._owner.submit(function, *arguments).result()

    def _check_open(self) -> None:
        if self._owner is None:
            raise InvalidInput("expected an open engine, got one that was closed; open another")

    def _run(self, n_new: int, asked: Sequence[tuple[int, Query]], rings: Sequence[Ring]) -> list[Slot]:
        return self._call(self._run_here, n_new, asked, rings)

    def _new_rings(self, fps: float) -> tuple[Ring, ...]:
        """See RingEngine."""
        return self._call(self._new_rings_here, fps)

    def _retire(self) -> Callable[[tuple[Ring, ...]], object]:
        """See RingEngine. Whoever drops the states last may be in any thread: the owner's frees them later."""
        return self._retired.append

    # From here on: in the owner's thread.

    def _open(
        self, path: Path, options: BuildOptions, cache: PlanCache, progress: Progress | None, exact: bool
    ) -> None:
        self._gpu = self._cuda.attach()
        self._attached = True
        self._library = trt_api.library_name(self._trt)

        tell = LoggedProgress(self.bundle.name) if progress is None else progress

        def told(phase: str, share: float) -> bool:
            return not self._stopping and tell(phase, share) is not False

        loaded = load_engine(self._trt, self.bundle, path, options, self._gpu, cache, told, exact=exact)
        self._runtime, self._engine, self.plan = loaded.runtime, loaded.engine, loaded.plan
        self._stream = self._cuda.stream_create()
        self._allocate()

    def _allocate(self) -> None:
        """All buffers for the largest profile; what is on the device stays where it is until `close`."""
        b, cuda, faces, rows = self.bundle, self._cuda, self.max_faces, self._max_queries
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise OutOfDeviceMemory(
                f"expected memory for {self._library}'s context, got {trt_api.last_errors(self._trt)}; lower max_faces "
                "or the workspace, or end other users of the GPU"
            )
        side, n, names = b.resolution // 4, b.answers, index_names(b)
        self.crops = cuda.host_array((faces, 3, b.resolution, b.resolution), np.float32)
        self._heatmaps = cuda.host_array((faces, 68, side, side), np.float32)
        self._logits = cuda.host_array((rows, n), np.float32)
        pitch = -(-rows * 8 // _ALIGNMENT) * _ALIGNMENT  # bytes of one index input
        self._indices = cuda.host_array((len(names), pitch // 8), np.int64)
        self._references = np.zeros((0, 68, 2), np.float32)
        pinned = {
            "crop": self.crops, "heatmaps": self._heatmaps, "logits": self._logits, "indices": self._indices
        }  # fmt: skip
        if b.reference:
            self._references = pinned["reference"] = cuda.host_array((rows, 68, 2), np.float32)
        self._on_device = {array: self._malloc(host.nbytes) for array, host in pinned.items()}
        for state in b.state:
            self._on_device[state.name] = self._malloc(faces * state_bytes(state))
        given = ("reference",) if b.reference else ()
        for name in ("crop", *given, "heatmaps", "logits", *(state.name for state in b.state)):
            self._set_address(name, self._on_device[name])
        for k, (_, _, name) in enumerate(names):
            self._set_address(name, self._on_device["indices"] + k * pitch)

    def _run_here(self, n_new: int, asked: Sequence[tuple[int, Query]], rings: Sequence[Ring]) -> list[Slot]:
        self._free_retired()
        return super()._run(n_new, asked, rings)

    def _new_rings_here(self, fps: float) -> tuple[Ring, ...]:
        self._free_retired()
        rings: list[DeviceRing] = []
        try:
            for state, limit in zip(self.bundle.state, max_rows(self.bundle, self.max_faces), strict=True):
                rows = initial_rows(state, self.bundle.interval_s, fps)
                rings.append(DeviceRing(state, rows, limit, self._cuda, self._stream))
        except BaseException:
            self._retired.append(tuple(rings))
            raise
        return tuple(rings)

    def _free_retired(self) -> None:
        while self._retired:
            for ring in self._retired.popleft():
                assert isinstance(ring, DeviceRing)
                ring.free()

    def _malloc(self, size: int) -> int:
        address = self._cuda.malloc(size)
        self._allocated.append(address)
        return address

    def _release(self) -> None:
        """Everything back, in reverse order. What fails is logged: the rest has to go all the same."""
        if not self._attached:
            return

        def give(call: Callable[..., object], *arguments: object) -> None:
            try:
                call(*arguments)
            except Exception as error:
                log.warning("while closing the engine: %s", error)

        if self._stream:
            give(self._cuda.stream_wait, self._stream)
        give(self._forget_graph)
        if self._clock is not None:
            give(self._clock.free)
        self._context = self._engine = self._runtime = None
        self._close_states()
        give(self._free_retired)
        for address in self._allocated:
            give(self._cuda.free, address)
        if self._stream:
            give(self._cuda.stream_destroy, self._stream)
        give(self._cuda.detach)
        self._allocated, self._stream, self._clock = [], 0, None
