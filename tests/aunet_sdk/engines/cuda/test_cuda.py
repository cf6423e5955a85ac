"""cuda-bindings without a GPU: what it says, how it counts, and what it frees. tests/gpu has the rest."""

from __future__ import annotations

import ctypes
import gc
import sys
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aunet_sdk.engines.cuda.api import CudaFailure, OutOfDeviceMemory
from aunet_sdk.engines.cuda.bindings import CudaBindings, open_cuda
from aunet_sdk.errors import BackendUnavailable, InvalidInput

from ..fake_cuda import FakeCuda


class Code(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700


class FakeRuntime:
    """In the shape of `cuda.bindings.runtime`, as far as it is used here."""

    cudaError_t = Code
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.code = Code.cudaSuccess
        self.devices = 1
        self.driver = 12060
        self._kept: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            return (self.code, *self.answer(name, arguments))

        return call

    def answer(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "cudaHostAlloc":
            memory = (ctypes.c_uint8 * arguments[0])(*[7] * arguments[0])
            self._kept[ctypes.addressof(memory)] = memory
            return (ctypes.addressof(memory),)
        properties = SimpleNamespace(name=b"Orin\0", major=8, minor=7, totalGlobalMem=8 << 30)
        return {
            "cudaGetDeviceCount": (self.devices,),
            "cudaDriverGetVersion": (self.driver,),
            "cudaRuntimeGetVersion": (12090,),
            "cudaGetDeviceProperties": (properties,),
            "cudaMalloc": (4096,),
            "cudaStreamCreateWithFlags": (11,),
            "cudaEventCreateWithFlags": (12,),
            "cudaEventElapsedTime": (1.5,),
            "cudaStreamEndCapture": (13,),
            "cudaGraphInstantiate": (14,),
        }.get(name, ())


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.runtime = fake  # type: ignore[attr-defined]
    package.bindings = bindings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", package)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return fake


@pytest.fixture(autouse=True)
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests may have a driver."""
    for module in ("bindings", "pycuda"):
        monkeypatch.setattr(f"aunet_sdk.engines.cuda.{module}.driver_version", lambda: None)


def test_the_device(runtime: FakeRuntime) -> None:
    info = CudaBindings(0).attach()
    assert (info.name, info.compute_capability, info.driver, info.total_bytes) == ("Orin", "8.7", "12.6", 8 << 30)
    assert ("cudaSetDevice", 0) in runtime.calls
    with pytest.raises(InvalidInput, match="device_id: expected 0 to 0, got 1"):
        CudaBindings(1).attach()


def test_the_drivers_own_version(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drivers may serve the same CUDA: their plans are not each other's."""
    for module in ("bindings", "pycuda"):
        monkeypatch.setattr(f"aunet_sdk.engines.cuda.{module}.driver_version", lambda: "570.86.15")
    assert CudaBindings().attach().driver == "570.86.15"
    device = SimpleNamespace(name=lambda: "Orin", compute_capability=lambda: (8, 7), total_memory=lambda: 8 << 30)
    context = SimpleNamespace(push=lambda: None, get_device=lambda: device)
    package, driver = pycuda_fake(context)
    driver.get_driver_version = lambda: 12060  # type: ignore[attr-defined]
    for module in (package, driver):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert open_cuda("pycuda").attach().driver == "570.86.15"
    monkeypatch.setattr("aunet_sdk.engines.cuda.pycuda.driver_version", lambda: None)
    assert open_cuda("pycuda").attach().driver == "12.6"


@pytest.mark.parametrize("call", ["cudaGetDeviceCount", "cudaDriverGetVersion", "cudaRuntimeGetVersion"])
def test_no_libcuda(runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """cuda-bindings 12.8 raises where it cannot load the driver's library."""

    def missing(*_: Any) -> Any:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(runtime, call, missing, raising=False)
    with pytest.raises(BackendUnavailable, match=r"expected a CUDA device, got Failed to dlopen .*no NVIDIA driver"):
        CudaBindings().attach()


def test_no_driver_or_one_too_old(runtime: FakeRuntime) -> None:
    runtime.code, runtime.devices, runtime.driver = Code.cudaErrorInsufficientDriver, 0, 0
    with pytest.raises(BackendUnavailable, match=r"InsufficientDriver: no NVIDIA driver.*wants CUDA 12.9"):
        CudaBindings().attach()
    runtime.driver = 11040
    with pytest.raises(BackendUnavailable, match=r"a driver for CUDA 11.4, and cuda-bindings wants CUDA 12.9"):
        CudaBindings().attach()


def test_the_real_package_without_a_driver() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    if runtime.cudaGetDeviceCount()[0] == 0:
        pytest.skip("there is a GPU; tests/gpu")
    with pytest.raises(BackendUnavailable, match="expected a CUDA device, got cudaError"):
        open_cuda().attach()


def test_every_call_of_cuda_is_there() -> None:
    """What CudaBindings names exists in the real package."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    fake = FakeRuntime()
    cuda = CudaBindings.__new__(CudaBindings)
    cuda._rt, cuda._device_id, cuda._graphs, cuda._events = fake, 0, {}, {}
    cuda._out_of_memory = Code.cudaErrorMemoryAllocation
    use_all(cuda)
    missing = [name for name, *_ in fake.calls if not hasattr(runtime, name)]
    assert not missing and len({name for name, *_ in fake.calls}) > 20
    for kind in ("HostToDevice", "DeviceToHost", "DeviceToDevice"):
        assert hasattr(runtime.cudaMemcpyKind, f"cudaMemcpy{kind}")
    assert hasattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
    assert hasattr(runtime.cudaError_t, "cudaErrorMemoryAllocation")


def use_all(cuda: CudaBindings) -> None:
    """Every call of the protocol once."""
    cuda.attach()
    stream, address = cuda.stream_create(), cuda.malloc(64)
    host = cuda.host_array((4,), np.float32)
    cuda.copy_to_device(address, host.ctypes.data, 16, stream)
    cuda.copy_on_device(address, address + 16, 16, stream)
    cuda.copy_to_host(host.ctypes.data, address, 16, stream)
    first = cuda.event_create()
    cuda.event_record(first, stream)
    assert cuda.event_elapsed_ms(first, first) == 1.5
    cuda.event_destroy(first)
    cuda.graph_begin(stream)
    graph = cuda.graph_end(stream)
    cuda.graph_launch(graph, stream)
    cuda.graph_destroy(graph)
    cuda.stream_wait(stream)
    cuda.free(address)
    cuda.stream_destroy(stream)
    cuda.detach()
    del host
    gc.collect()


def test_calls_and_their_order(runtime: FakeRuntime) -> None:
    use_all(CudaBindings())
    names = [name for name, *_ in runtime.calls]
    assert ("cudaStreamCreateWithFlags", 1) in runtime.calls, "a stream that does not wait for the default one"
    kinds = [call[4] for call in runtime.calls if call[0] == "cudaMemcpyAsync"]
    assert kinds == [1, 3, 2]
    capture = names.index("cudaStreamBeginCapture")
    assert names[capture : capture + 6] == [
        "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy", "cudaGraphLaunch",
        "cudaGraphExecDestroy",
    ]  # fmt: skip


def test_pinned_memory_lives_as_long_as_its_last_view(runtime: FakeRuntime) -> None:
    array = CudaBindings().host_array((2, 3), np.float32)
    assert array.shape == (2, 3) and array.dtype == np.float32 and not array.any() and array.flags.writeable
    view = array[1:].T
    del array
    gc.collect()
    assert "cudaFreeHost" not in [name for name, *_ in runtime.calls]
    del view
    gc.collect()
    assert [name for name, *_ in runtime.calls].count("cudaFreeHost") == 1


def test_errors_have_names(runtime: FakeRuntime) -> None:
    cuda = CudaBindings()
    runtime.code = Code.cudaErrorMemoryAllocation
    with pytest.raises(OutOfDeviceMemory, match=r"expected free device memory for 2.0 MiB.*lower max_faces"):
        cuda.malloc(2 << 20)
    runtime.code = Code.cudaErrorIllegalAddress
    with pytest.raises(CudaFailure, match=r"the work on the GPU to succeed, got cudaErrorIllegalAddress \(700\)"):
        cuda.stream_wait(1)
    assert issubclass(CudaFailure, BackendUnavailable) and issubclass(OutOfDeviceMemory, BackendUnavailable)


def test_a_spoilt_capture_gives_no_graph(runtime: FakeRuntime) -> None:
    cuda = CudaBindings()
    cuda.graph_begin(1)
    runtime.code = Code.cudaErrorIllegalAddress
    assert cuda.graph_end(1) == 0


def test_open_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="cuda: expected cuda-bindings or pycuda, got 'opencl'"):
        open_cuda("opencl")
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendUnavailable, match="expected the package pycuda"):
        open_cuda("pycuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendUnavailable, match="expected the package cuda-bindings"):
        open_cuda()


def test_the_fake_is_late() -> None:
    """It must not do at once what a GPU does later, or tests over it show nothing."""
    cuda = FakeCuda()
    cuda.attach()
    stream, address, host = cuda.stream_create(), cuda.malloc(8), cuda.host_array((2,), np.float32)
    host[:] = 1
    cuda.copy_to_device(address, host.ctypes.data, 8, stream)
    host[:] = 2
    cuda.stream_wait(stream)
    assert (cuda.at(address, 8).view(np.float32) == 2).all()
    with pytest.raises(AssertionError, match="no allocation"):
        cuda.copy_to_host(host.ctypes.data, address + 4, 8, stream)


def pycuda_fake(current: object | None) -> tuple[ModuleType, ModuleType]:
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    for name in ("Error", "MemoryError"):
        setattr(driver, name, type(name, (Exception,), {}))
    driver.Context = SimpleNamespace(get_current=lambda: current)  # type: ignore[attr-defined]
    package.driver = driver  # type: ignore[attr-defined]
    return package, driver


def test_pycuda_wants_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in pycuda_fake(None):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(BackendUnavailable, match="a CUDA context that is current in this thread, got none"):
        open_cuda("pycuda")
