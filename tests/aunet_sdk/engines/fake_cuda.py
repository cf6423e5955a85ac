"""A fake of CUDA (CudaApi) for tests without a GPU: strict, recording, and late.

Late: copies and launches wait in their stream until it is waited for, as on a GPU at its slowest; a result that is read
before, or a buffer that is filled again before, shows. Strict: addresses must lie inside living allocations, nothing
may be allocated or waited for during a capture, and calls from another thread than the attached one are errors.
It has a clock of its own: every work that runs takes its milliseconds, and events take the time where they stand.
Device memory is host memory, so that a fake TensorRT can compute on it.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aunet_sdk.engines.cuda.api import CudaFailure, DeviceInfo, OutOfDeviceMemory

Work = Callable[[], None]
IN_MS, OUT_MS, KEEP_MS, RUN_MS = 2.0, 3.0, 0.25, 100.0


@dataclass
class FakeCuda:
    """calls: (name, arguments) of every call; limit: bytes of device memory; fail: names of calls that fail."""

    has_graphs: bool = True
    limit: int = 1 << 34
    fail: set[str] = field(default_factory=set)
    spoil_capture: bool = False
    name: str = "fake"

    def __post_init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.device: dict[int, np.ndarray] = {}
        self.host: list[np.ndarray] = []
        self.streams: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.events: dict[int, float | None] = {}
        self.clock_ms = 0.0
        self.capturing: int | None = None
        self.owner: int | None = None
        self._numbers = itertools.count(1000)

    def _record(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.fail:
            raise CudaFailure(f"expected {name} to succeed, got the fake's failure; this is a test")
        if name != "attach" and self.owner != threading.get_ident():
            raise AssertionError(f"{name} from a thread that did not attach")

    def names(self) -> list[str]:
        """Names of the calls so far."""
        return [call[0] for call in self.calls]

    def used(self) -> int:
        """Bytes of device memory in use."""
        return sum(memory.nbytes for memory in self.device.values())

    def attach(self) -> DeviceInfo:
        self._record("attach")
        self.owner = threading.get_ident()
        return DeviceInfo(0, "Fake GPU", "8.7", "12.6", self.limit)

    def detach(self) -> None:
        self._record("detach")
        self.owner = None

    def malloc(self, size: int) -> int:
        self._record("malloc", size)
        assert self.capturing is None, "malloc during a capture"
        if self.used() + size > self.limit:
            raise OutOfDeviceMemory(f"expected free device memory for {size} bytes, got none: the fake's limit")
        memory = np.full(size + 256, 0xA5, np.uint8)  # rubbish, as on a device
        offset = -memory.ctypes.data % 256
        self.device[memory.ctypes.data + offset] = memory[offset : offset + size]
        return memory.ctypes.data + offset

    def free(self, address: int) -> None:
        self._record("free", address)
        assert self.capturing is None, "free during a capture"
        self.device.pop(address)

    def host_array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self._record("host_array", shape)
        self.host.append(np.zeros(shape, dtype))
        return self.host[-1]

    def at(self, address: int, size: int) -> np.ndarray:
        """uint8 (size,): device memory, which must lie inside one allocation."""
        for start, memory in self.device.items():
            if start <= address and address + size <= start + memory.nbytes:
                return memory[address - start : address - start + size]
        raise AssertionError(f"no allocation holds {size} bytes at {address:#x}")

    def _pinned(self, address: int, size: int) -> np.ndarray:
        for array in self.host:
            start = array.ctypes.data
            if start <= address and address + size <= start + array.nbytes:
                return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        raise AssertionError(f"{address:#x} is not in pinned memory")

    def put(self, stream: int, work: Work, ms: float = RUN_MS) -> None:
        """What a launch does: into the stream, or into the graph that is being captured."""
        assert stream in self.streams, "a stream that is not there"

        def timed() -> None:
            self.clock_ms += ms
            work()

        self.streams[stream].append(timed)

    def _copy(self, target: np.ndarray, source: np.ndarray, stream: int, ms: float) -> None:
        def work() -> None:
            target[:] = source

        self.put(stream, work, ms)

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._record("copy_to_device", target, source, size, stream)
        self._copy(self.at(target, size), self._pinned(source, size), stream, IN_MS)

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        self._record("copy_to_host", target, source, size, stream)
        self._copy(self._pinned(target, size), self.at(source, size), stream, OUT_MS)

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        self._record("copy_on_device", target, source, size, stream)
        self._copy(self.at(target, size), self.at(source, size), stream, KEEP_MS)

    def stream_create(self) -> int:
        self._record("stream_create")
        stream = next(self._numbers)
        self.streams[stream] = []
        return stream

    def stream_destroy(self, stream: int) -> None:
        self._record("stream_destroy", stream)
        self.streams.pop(stream)

    def stream_wait(self, stream: int) -> None:
        self._record("stream_wait", stream)
        assert self.capturing is None, "waiting during a capture"
        queue, self.streams[stream] = self.streams[stream], []
        for work in queue:
            work()

    def event_create(self) -> int:
        self._record("event_create")
        event = next(self._numbers)
        self.events[event] = None
        return event

    def event_record(self, event: int, stream: int) -> None:
        self._record("event_record", event, stream)
        assert event in self.events

        def work() -> None:
            self.events[event] = self.clock_ms

        self.put(stream, work, 0.0)

    def event_elapsed_ms(self, first: int, last: int) -> float:
        self._record("event_elapsed_ms", first, last)
        before, after = self.events[first], self.events[last]
        assert before is not None and after is not None, "an event that the stream has not come to"
        return after - before

    def event_destroy(self, event: int) -> None:
        self._record("event_destroy", event)
        del self.events[event]

    def graph_begin(self, stream: int) -> None:
        self._record("graph_begin", stream)
        assert self.capturing is None and not self.streams[stream]
        self.capturing = stream

    def graph_end(self, stream: int) -> int:
        self._record("graph_end", stream)
        assert self.capturing == stream
        self.capturing = None
        work, self.streams[stream] = self.streams[stream], []
        if self.spoil_capture:
            return 0
        graph = next(self._numbers)
        self.graphs[graph] = work
        return graph

    def graph_launch(self, graph: int, stream: int) -> None:
        self._record("graph_launch", graph, stream)
        for work in self.graphs[graph]:
            self.put(stream, work, 0.0)  # its works count their own time

    def graph_destroy(self, graph: int) -> None:
        self._record("graph_destroy", graph)
        self.graphs.pop(graph)
