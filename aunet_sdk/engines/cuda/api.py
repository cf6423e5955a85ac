"""The few CUDA calls that the TensorRT engine needs, as a protocol; bindings.py and pycuda.py keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...errors import BackendUnavailable

__all__ = ["CudaApi", "CudaFailure", "DeviceInfo", "OutOfDeviceMemory", "tells_of_memory"]

_MEMORY_WORDS = ("out of memory", "outofmemory", "failed to allocate", "could not be allocated", "alloc_failed")


class CudaFailure(BackendUnavailable):
    """A CUDA call failed while the engine was running. The device may have to be opened anew."""


class OutOfDeviceMemory(BackendUnavailable):
    """The GPU has not enough free memory."""


def tells_of_memory(text: str) -> bool:
    """Whether a library's own message says that memory ran out."""
    return any(word in text.lower() for word in _MEMORY_WORDS)


@dataclass(frozen=True)
class DeviceInfo:
    """The GPU. compute_capability "8.7"; total_bytes of its memory.

    driver: its own version by NVML, "550.54.15"; where NVML does not answer, the newest CUDA that it serves, "12.6"
    """

    index: int
    name: str
    compute_capability: str
    driver: str
    total_bytes: int


class CudaApi(Protocol):
    """Addresses, streams, events and graphs are plain integers. Sizes are in bytes.

    Every call but `host_array` belongs to the thread that called `attach`. A copy is done once its stream was waited
    for. All raise CudaFailure, `malloc` and `host_array` OutOfDeviceMemory.
    """

    name: str
    has_graphs: bool

    def attach(self) -> DeviceInfo:
        """Make the device's context current in this thread. Raises BackendUnavailable: no driver, device, context."""
        ...

    def detach(self) -> None:
        """Undo `attach`, in the same thread."""
        ...

    def malloc(self, size: int) -> int: ...

    def free(self, address: int) -> None: ...

    def host_array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Page-locked memory, zeros; given back when the last view of it is gone."""
        ...

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None: ...

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None: ...

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None: ...

    def stream_create(self) -> int:
        """A stream that does not wait for the default stream."""
        ...

    def stream_destroy(self, stream: int) -> None: ...

    def stream_wait(self, stream: int) -> None:
        """Block until everything in it is done."""
        ...

    def event_create(self) -> int: ...

    def event_record(self, event: int, stream: int) -> None:
        """Take the time when the stream comes to this point; during a capture, at every launch of the graph."""
        ...

    def event_elapsed_ms(self, first: int, last: int) -> float:
        """Waits for `last`."""
        ...

    def event_destroy(self, event: int) -> None: ...

    def graph_begin(self, stream: int) -> None:
        """From here on, what goes to the stream is written down instead of run."""
        ...

    def graph_end(self, stream: int) -> int:
        """The graph, ready to launch; 0 where the capture was spoilt. The stream runs again in both cases."""
        ...

    def graph_launch(self, graph: int, stream: int) -> None: ...

    def graph_destroy(self, graph: int) -> None: ...
