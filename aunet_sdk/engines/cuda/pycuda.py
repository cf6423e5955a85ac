"""CudaApi on pycuda, for applications that already work with it. No CUDA graphs: pycuda has no call for them."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ..._util.nvml import driver_version
from ...errors import BackendUnavailable
from .api import CudaFailure, DeviceInfo, OutOfDeviceMemory

__all__ = ["PyCuda"]


class PyCuda:
    """CudaApi in the context that is current where this object is made.

    Raises BackendUnavailable: pycuda is missing, or no context is current (`import pycuda.autoinit` makes one).
    """

    name = "pycuda"
    has_graphs = False

    def __init__(self) -> None:
        try:
            import pycuda.driver as driver
        except ImportError as error:
            raise_if_interrupted(error)
            raise BackendUnavailable(
                f'expected the package pycuda, got {error}; pip install "aunet_sdk[pycuda]" (needs nvcc)'
            ) from error
        self._driver: Any = driver
        try:
            self._context: Any = driver.Context.get_current()
        except driver.Error as error:
            raise BackendUnavailable(f"expected an NVIDIA driver, got {error}; install one") from error
        if self._context is None:
            raise BackendUnavailable(
                "expected a CUDA context that is current in this thread, got none; make one before (pycuda.autoinit) "
                "or take cuda-bindings"
            )
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}

    def _do(self, what: str, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._driver.MemoryError as error:
            raise OutOfDeviceMemory(
                f"expected free device memory for {what}, got {error}; lower max_faces or the workspace"
            ) from error
        except self._driver.Error as error:
            raise CudaFailure(f"expected {what} to succeed, got {error}; open the engine anew") from error

    def attach(self) -> DeviceInfo:
        """See CudaApi: the application's context becomes current in this thread too."""
        self._do("the application's context", self._context.push)
        device = self._context.get_device()
        version = self._driver.get_driver_version()
        major, minor = device.compute_capability()
        return DeviceInfo(
            index=0,
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            driver=driver_version() or f"{version // 1000}.{version % 1000 // 10}",
            total_bytes=int(device.total_memory()),
        )

    def detach(self) -> None:
        """See CudaApi."""
        self._do("the application's context", self._driver.Context.pop)

    def malloc(self, size: int) -> int:
        """See CudaApi."""
        memory = self._do(f"{size / 2**20:.1f} MiB", self._driver.mem_alloc, size)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        """See CudaApi."""
        self._do("freeing memory", self._memory.pop(address).free)

    def host_array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """See CudaApi."""
        array: np.ndarray = self._do("pinned memory", self._driver.pagelocked_zeros, shape, np.dtype(dtype))
        return array

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._do(
            "copying to the device", self._driver.memcpy_htod_async, target, _bytes_at(source, size), self._of(stream)
        )

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._do(
            "copying to the host", self._driver.memcpy_dtoh_async, _bytes_at(target, size), source, self._of(stream)
        )

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._do("copying on the device", self._driver.memcpy_dtod_async, target, source, size, self._of(stream))

    def _of(self, stream: int) -> Any:
        return self._streams[stream]

    def stream_create(self) -> int:
        """See CudaApi."""
        stream = self._do("a stream", self._driver.Stream, 1)  # 1: non-blocking
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def stream_destroy(self, stream: int) -> None:
        """See CudaApi; pycuda destroys it with the object."""
        self._streams.pop(stream)

    def stream_wait(self, stream: int) -> None:
        """See CudaApi."""
        self._do("the work on the GPU", self._streams[stream].synchronize)

    def event_create(self) -> int:
        """See CudaApi."""
        event = self._do("an event", self._driver.Event)
        self._events[id(event)] = event
        return id(event)

    def event_record(self, event: int, stream: int) -> None:
        """See CudaApi."""
        self._do("recording an event", self._events[event].record, self._streams[stream])

    def event_elapsed_ms(self, first: int, last: int) -> float:
        """See CudaApi."""
        self._do("the work on the GPU", self._events[last].synchronize)
        return float(self._do("the time between events", self._events[first].time_till, self._events[last]))

    def event_destroy(self, event: int) -> None:
        """See CudaApi; pycuda destroys it with the object."""
        self._events.pop(event)

    def graph_begin(self, stream: int) -> None:
        """Not in pycuda; has_graphs says so."""
        raise CudaFailure("expected a CUDA library with graphs, got pycuda; take cuda-bindings for them")

    def graph_end(self, stream: int) -> int:
        """Not in pycuda."""
        return 0

    def graph_launch(self, graph: int, stream: int) -> None:
        """Not in pycuda."""
        self.graph_begin(stream)

    def graph_destroy(self, graph: int) -> None:
        """Not in pycuda."""


def _bytes_at(address: int, size: int) -> np.ndarray:
    """uint8 (size,) over host memory."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
