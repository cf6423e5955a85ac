"""CudaApi (cuda_api.py) by name, and on cuda-bindings.

cuda-bindings (NVIDIA's own, the default) works on the device's primary context and captures CUDA graphs. pycuda works
in the context that its application has already made current, and has no graphs. Tests use a recording fake.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ..._util.nvml import driver_version
from ...errors import BackendUnavailable, InvalidInput
from .api import CudaApi, CudaFailure, DeviceInfo, OutOfDeviceMemory

__all__ = ["CudaBindings", "open_cuda"]

_INSTALL = 'pip install "aunet_sdk[trt]"'


def open_cuda(name: str = "cuda-bindings", device_id: int = 0) -> CudaApi:
    """ "cuda-bindings" or "pycuda". Raises InvalidInput (another name) or BackendUnavailable (not installed)."""
    if name == "cuda-bindings":
        return CudaBindings(device_id)
    if name == "pycuda":
        from .pycuda import PyCuda

        return PyCuda()
    raise InvalidInput(f"cuda: expected cuda-bindings or pycuda, got {name!r}")


class CudaBindings:
    """CudaApi on `cuda.bindings.runtime` and the primary context of one device.

    Raises BackendUnavailable where the package is missing; a missing driver shows in `attach`.
    """

    name = "cuda-bindings"
    has_graphs = True
    _capturing = False

    def __init__(self, device_id: int = 0) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise_if_interrupted(error)
            raise BackendUnavailable(f"expected the package cuda-bindings, got {error}; {_INSTALL}") from error
        self._rt: Any = runtime
        self._device_id = device_id
        self._graphs: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._out_of_memory = runtime.cudaError_t.cudaErrorMemoryAllocation

    def _check(self, result: tuple[Any, ...], what: str) -> Any:
        code, *values = result
        if int(code) != 0:
            detail = f"{code.name} ({int(code)})"
            if code == self._out_of_memory:
                self._rt.cudaGetLastError()  # this one is not sticky: clear it
                raise OutOfDeviceMemory(
                    f"expected free device memory for {what}, got {detail}; lower max_faces or the workspace, use a "
                    "bundle with FP16 states, or end other users of the GPU"
                )
            raise CudaFailure(f"expected {what} to succeed, got {detail}; open the engine anew")
        return values[0] if len(values) == 1 else values

    def attach(self) -> DeviceInfo:
        """See CudaApi."""
        rt = self._rt
        try:
            error, count = rt.cudaGetDeviceCount()
            _, driver = rt.cudaDriverGetVersion()
            _, wanted = rt.cudaRuntimeGetVersion()
        except RuntimeError as failure:  # cuda-bindings 12 raises where there is no libcuda
            raise BackendUnavailable(
                f"expected a CUDA device, got {failure}: no NVIDIA driver; install it, or run where there is one"
            ) from failure
        if int(error) != 0 or not count:
            have = "no NVIDIA driver" if not driver else f"a driver for CUDA {_version(driver)}"
            raise BackendUnavailable(
                f"expected a CUDA device, got {getattr(error, 'name', error)}: {have}, and cuda-bindings wants CUDA "
                f"{_version(wanted)}; install or update the NVIDIA driver, or take a cuda-bindings of its version"
            )
        if not 0 <= self._device_id < count:
            raise InvalidInput(f"device_id: expected 0 to {count - 1}, got {self._device_id}")
        self._check(rt.cudaSetDevice(self._device_id), "cudaSetDevice")
        self._check(rt.cudaFree(0), "the device's context")
        properties = self._check(rt.cudaGetDeviceProperties(self._device_id), "cudaGetDeviceProperties")
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return DeviceInfo(
            index=self._device_id,
            name=name.rstrip("\0"),
            compute_capability=f"{properties.major}.{properties.minor}",
            driver=driver_version() or _version(driver),
            total_bytes=int(properties.totalGlobalMem),
        )

    def detach(self) -> None:
        """The primary context stays: others may use it."""

    def malloc(self, size: int) -> int:
        """See CudaApi."""
        return int(self._check(self._rt.cudaMalloc(size), f"{size / 2**20:.1f} MiB"))

    def free(self, address: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaFree(address), "cudaFree")

    def host_array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """See CudaApi."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        flags = getattr(self._rt, "cudaHostAllocDefault", 0)
        address = int(self._check(self._rt.cudaHostAlloc(size, flags), f"{size / 2**20:.1f} MiB of pinned memory"))
        memory = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(memory, self._rt.cudaFreeHost, address).atexit = False
        ctypes.memset(address, 0, size)
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def _copy(self, target: int, source: int, size: int, kind: str, stream: int) -> None:
        direction = getattr(self._rt.cudaMemcpyKind, f"cudaMemcpy{kind}")
        self._check(self._rt.cudaMemcpyAsync(target, source, size, direction, stream), f"copying {kind}")

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._copy(target, source, size, "HostToDevice", stream)

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._copy(target, source, size, "DeviceToHost", stream)

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See CudaApi."""
        self._copy(target, source, size, "DeviceToDevice", stream)

    def stream_create(self) -> int:
        """See CudaApi."""
        return int(self._check(self._rt.cudaStreamCreateWithFlags(1), "a stream"))  # 1: non-blocking

    def stream_destroy(self, stream: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaStreamDestroy(stream), "cudaStreamDestroy")

    def stream_wait(self, stream: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaStreamSynchronize(stream), "the work on the GPU")

    def event_create(self) -> int:
        """See CudaApi."""
        event = self._check(self._rt.cudaEventCreateWithFlags(0), "an event")
        self._events[int(event)] = event
        return int(event)

    def event_record(self, event: int, stream: int) -> None:
        """See CudaApi. A captured event takes no time unless it is a node of its own in the graph: external."""
        if self._capturing:
            flag = getattr(self._rt, "cudaEventRecordExternal", 1)
            self._check(self._rt.cudaEventRecordWithFlags(self._events[event], stream, flag), "cudaEventRecord")
        else:
            self._check(self._rt.cudaEventRecord(self._events[event], stream), "cudaEventRecord")

    def event_elapsed_ms(self, first: int, last: int) -> float:
        """See CudaApi."""
        self._check(self._rt.cudaEventSynchronize(self._events[last]), "the work on the GPU")
        elapsed = self._rt.cudaEventElapsedTime(self._events[first], self._events[last])
        return float(self._check(elapsed, "cudaEventElapsedTime"))

    def event_destroy(self, event: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaEventDestroy(self._events.pop(event)), "cudaEventDestroy")

    def graph_begin(self, stream: int) -> None:
        """See CudaApi. Other threads may go on using CUDA meanwhile."""
        mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check(self._rt.cudaStreamBeginCapture(stream, mode), "cudaStreamBeginCapture")
        self._capturing = True

    def graph_end(self, stream: int) -> int:
        """See CudaApi."""
        self._capturing = False
        error, graph = self._rt.cudaStreamEndCapture(stream)
        if int(error) != 0 or graph is None or not int(graph):
            self._rt.cudaGetLastError()
            return 0
        error, ready = self._rt.cudaGraphInstantiate(graph, 0)
        self._rt.cudaGraphDestroy(graph)
        if int(error) != 0:
            self._rt.cudaGetLastError()
            return 0
        self._graphs[int(ready)] = ready
        return int(ready)

    def graph_launch(self, graph: int, stream: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaGraphLaunch(self._graphs[graph], stream), "cudaGraphLaunch")

    def graph_destroy(self, graph: int) -> None:
        """See CudaApi."""
        self._check(self._rt.cudaGraphExecDestroy(self._graphs.pop(graph)), "cudaGraphExecDestroy")


def _version(number: int) -> str:
    """12060 -> "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"
