"""How a step runs on TensorRT: shapes and addresses, copies in and out, the plan, and the CUDA graph that replays them.

engine.py opens and closes what is used here. All of it runs in the engine's own thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ...errors import BackendUnavailable, EngineMismatch
from ..cuda.api import CudaApi, CudaFailure, OutOfDeviceMemory, tells_of_memory
from ..cuda.copy_timer import CopyClock
from ..ring import Ring
from ..ring_engine import RingEngine, index_names
from . import api as trt_api

__all__ = ["TrtSteps"]

log = logging.getLogger(__name__)


class TrtSteps(RingEngine):
    """The part of TrtStreamEngine that is used in every step. The attributes are the engine's, which sets them."""

    _trt: Any
    _cuda: CudaApi
    _context: Any
    _library: str
    _stream: int
    _graph: int
    _runs: int
    _wants_graphs: bool
    _clock: CopyClock | None
    _on_device: dict[str, int]
    _shapes: dict[str, tuple[int, ...]]
    _addresses: dict[str, int]

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineMismatch(f"expected the address of {name} to be taken, got {trt_api.last_errors(self._trt)}")

    def _arrange(self, batch: int, queries: int, rings: Sequence[Ring]) -> None:
        """Shapes and addresses that are not yet as wanted; a captured graph holds the old ones and must go first."""
        shapes = {"crop": (batch, *self.crops.shape[1:])}
        shapes |= {name: (queries,) for _, _, name in index_names(self.bundle)}
        shapes |= {"reference": (queries, *self._references.shape[1:])} if self.bundle.reference else {}
        shapes |= {f"ring_{ring.spec.name}": (ring.rows, *ring.spec.shape) for ring in rings}
        addresses = {f"ring_{ring.spec.name}": ring.pointer for ring in rings}
        if shapes == self._shapes and addresses == self._addresses:
            return
        self._forget_graph()
        before, self._shapes = self._shapes, {}  # where anything fails, all of it is set again next time
        for name, shape in shapes.items():
            if before.get(name) != shape and not self._context.set_input_shape(name, shape):
                raise EngineMismatch(
                    f"expected {name} of shape {shape} within the profile, got {trt_api.last_errors(self._trt)}; "
                    "build the engine for more faces"
                )
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._set_address(name, address)
        lacking = self._context.infer_shapes()
        if lacking:
            raise EngineMismatch(
                f"expected shapes for all inputs, got none for {', '.join(lacking)} ({trt_api.last_errors(self._trt)})"
            )
        self._shapes, self._addresses = shapes, addresses

    def _execute(self, n_new: int, count: int, starts: Sequence[int], rings: Sequence[Ring]) -> None:
        """See RingEngine. A number of queries is rounded up to a multiple of the crops: fewer shapes, and never 0."""
        batch = max(n_new, 1)
        queries = min(-(-max(count, 1) // batch) * batch, self._max_queries)
        self._indices[:, count:queries] = -1  # crop 0 of this call, which is always there
        self._references[count:queries] = 0.0
        self._set_clock()
        self._arrange(batch, queries, rings)
        if n_new == 0:
            self._enqueue(0, queries)
        elif self._graph or (self._wants_graphs and self._runs > 0 and self._capture(n_new, queries)):
            self._cuda.graph_launch(self._graph, self._stream)
        else:
            self._enqueue(n_new, queries)
            self._runs += 1
        for ring, start in zip(rings, starts, strict=False):
            target = ring.pointer + start * ring.row_bytes
            self._cuda.copy_on_device(target, self._on_device[ring.spec.name], n_new * ring.row_bytes, self._stream)
        self._cuda.stream_wait(self._stream)
        self._read_clock()

    def _set_clock(self) -> None:
        """As `timed` says now; a captured graph has the events of its time, or none."""
        if self.timed == (self._clock is not None):
            return
        self._forget_graph()
        if self._clock is not None:
            clock, self._clock = self._clock, None
            clock.free()
            return
        try:
            self._clock = CopyClock(self._cuda, self._stream)
        except BackendUnavailable as error:
            self._time_no_more(error)

    def _read_clock(self) -> None:
        """The run is over, and its results are good: a clock that cannot be read is no reason to lose them."""
        if self._clock is not None:
            try:
                self._add_copies(*self._clock.read_ms())
            except BackendUnavailable as error:
                self._time_no_more(error)

    def _time_no_more(self, error: BackendUnavailable) -> None:
        self.timed = False
        log.warning("the copies of this engine cannot be timed: %s", error)

    def _mark(self, which: int) -> None:
        if self._clock is not None:
            self._clock.mark(which)

    def _enqueue(self, n_new: int, queries: int) -> None:
        """Copies in, the plan, copies out: what a graph holds. No crops (0): neither they nor heatmaps are copied."""
        cuda, stream, place = self._cuda, self._stream, self._on_device
        self._mark(0)
        if n_new:
            cuda.copy_to_device(place["crop"], self.crops.ctypes.data, n_new * self.crops[0].nbytes, stream)
        cuda.copy_to_device(place["indices"], self._indices.ctypes.data, self._indices.nbytes, stream)
        if self.bundle.reference:
            size = queries * self._references[0].nbytes
            cuda.copy_to_device(place["reference"], self._references.ctypes.data, size, stream)
        self._mark(1)
        if not self._context.execute_async_v3(stream):
            reason = trt_api.last_errors(self._trt)
            kind = OutOfDeviceMemory if tells_of_memory(reason) else CudaFailure
            raise kind(f"expected {self._library} to run a step, got {reason}; open the engine anew")
        self._mark(2)
        if n_new:
            cuda.copy_to_host(self._heatmaps.ctypes.data, place["heatmaps"], n_new * self._heatmaps[0].nbytes, stream)
        cuda.copy_to_host(self._logits.ctypes.data, place["logits"], queries * self._logits[0].nbytes, stream)
        self._mark(3)

    def _capture(self, n_new: int, queries: int) -> bool:
        """Write a step down as a CUDA graph; where that cannot be done, say so once and go on without."""
        self._cuda.graph_begin(self._stream)
        reason = ""
        try:
            self._enqueue(n_new, queries)
        except BackendUnavailable as error:
            reason = str(error)
        self._graph = self._cuda.graph_end(self._stream)
        if reason and self._graph:
            self._forget_graph()
        if not self._graph:
            self._wants_graphs = False
            log.warning("this engine runs without CUDA graphs: %s", reason or "the capture was refused")
        return bool(self._graph)

    def _forget_graph(self) -> None:
        """A captured graph holds shapes and addresses; it must not outlive them."""
        graph, self._graph, self._runs = self._graph, 0, 0
        if graph:
            self._cuda.graph_destroy(graph)
