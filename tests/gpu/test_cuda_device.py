"""The CudaApi of cuda-bindings and of pycuda on a real device: memory, copies, events, graphs around a real kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from aunet_sdk.engines.cuda.api import CudaApi, OutOfDeviceMemory
from aunet_sdk.engines.cuda.bindings import CudaBindings, open_cuda
from aunet_sdk.errors import BackendUnavailable

N = 1024
# x[i] += 1; as text, so that no compiler is needed
PTX = b"""
.version 6.0
.target sm_52
.address_size 64
.visible .entry add_one(.param .u64 data)
{
    .reg .b32 %r<5>;
    .reg .f32 %f<3>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [data];
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r4, %r1, %r2, %r3;
    mul.wide.s32 %rd2, %r4, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.f32 %f1, [%rd3];
    add.f32 %f2, %f1, 0f3F800000;
    st.global.f32 [%rd3], %f2;
    ret;
}
\0"""


@pytest.fixture
def add_one(cuda: CudaBindings) -> Callable[[int, int], None]:
    """(address of N float32, stream): launches the kernel."""
    from cuda.bindings import driver

    def check(result: tuple[Any, ...]) -> Any:
        assert int(result[0]) == 0, result[0]
        return result[1] if len(result) > 1 else None

    module = check(driver.cuModuleLoadData(PTX))
    function = check(driver.cuModuleGetFunction(module, b"add_one"))

    def launch(address: int, stream: int) -> None:
        arguments = ((address,), (ctypes.c_void_p,))
        check(driver.cuLaunchKernel(function, N // 256, 1, 1, 256, 1, 1, 0, stream, arguments, 0))

    return launch


def round_trip(cuda: CudaApi) -> np.ndarray:
    """Host to device, on the device, device to host."""
    stream, first, second = cuda.stream_create(), cuda.malloc(4 * N), cuda.malloc(4 * N)
    there, back = cuda.host_array((N,), np.float32), cuda.host_array((N,), np.float32)
    there[:] = np.arange(N)
    cuda.copy_to_device(first, there.ctypes.data, 4 * N, stream)
    cuda.copy_on_device(second, first, 4 * N, stream)
    cuda.copy_to_host(back.ctypes.data, second, 4 * N, stream)
    cuda.stream_wait(stream)
    cuda.free(first)
    cuda.free(second)
    cuda.stream_destroy(stream)
    return back


def test_the_device(cuda: CudaBindings) -> None:
    info = cuda.attach()
    assert info.name and info.total_bytes > 1 << 30
    major, minor = map(int, info.compute_capability.split("."))
    assert major >= 5 and minor >= 0


def test_copies(cuda: CudaBindings) -> None:
    np.testing.assert_array_equal(round_trip(cuda), np.arange(N))


def test_a_kernel_and_its_graph(cuda: CudaBindings, add_one: Callable[[int, int], None]) -> None:
    """What is captured does not run; every launch runs all of it, copies included, on what the buffers hold then."""
    stream, data, host = cuda.stream_create(), cuda.malloc(4 * N), cuda.host_array((N,), np.float32)

    def work() -> None:
        cuda.copy_to_device(data, host.ctypes.data, 4 * N, stream)
        add_one(data, stream)
        cuda.copy_to_host(host.ctypes.data, data, 4 * N, stream)

    work()
    cuda.stream_wait(stream)
    assert (host == 1).all()
    cuda.graph_begin(stream)
    work()
    graph = cuda.graph_end(stream)
    assert graph != 0 and (host == 1).all()
    for _ in range(3):
        cuda.graph_launch(graph, stream)
    cuda.stream_wait(stream)
    assert (host == 4).all()
    host[:] = 10
    cuda.graph_launch(graph, stream)
    cuda.stream_wait(stream)
    assert (host == 11).all()
    cuda.graph_destroy(graph)
    cuda.free(data)
    cuda.stream_destroy(stream)


def test_a_spoilt_capture_leaves_the_stream_usable(cuda: CudaBindings, add_one: Callable[[int, int], None]) -> None:
    stream, data = cuda.stream_create(), cuda.malloc(4 * N)
    cuda.graph_begin(stream)
    add_one(data, stream)
    with pytest.raises(BackendUnavailable):
        cuda.stream_wait(stream)  # not allowed while capturing: it spoils the capture
    assert cuda.graph_end(stream) == 0
    cuda.stream_wait(stream)
    cuda.free(data)
    cuda.stream_destroy(stream)
    np.testing.assert_array_equal(round_trip(cuda), np.arange(N))


def test_events_measure(cuda: CudaBindings) -> None:
    stream, data = cuda.stream_create(), cuda.malloc(1 << 26)
    host = cuda.host_array((1 << 26,), np.uint8)
    first, last = cuda.event_create(), cuda.event_create()
    cuda.event_record(first, stream)
    for _ in range(4):
        cuda.copy_to_device(data, host.ctypes.data, host.nbytes, stream)
    cuda.event_record(last, stream)
    assert 0.1 < cuda.event_elapsed_ms(first, last) < 10_000
    for event in (first, last):
        cuda.event_destroy(event)
    cuda.free(data)
    cuda.stream_destroy(stream)


def test_out_of_memory_has_a_name_and_passes(cuda: CudaBindings) -> None:
    with pytest.raises(OutOfDeviceMemory):
        cuda.malloc(1 << 50)
    np.testing.assert_array_equal(round_trip(cuda), np.arange(N))


@pytest.fixture
def pycuda_api() -> Iterator[CudaApi]:
    driver = pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    driver.init()
    context = driver.Device(0).make_context()
    try:
        yield open_cuda("pycuda")
    finally:
        context.pop()
        context.detach()


def test_pycuda_in_the_context_of_the_application(pycuda_api: CudaApi) -> None:
    """Attached in another thread, as the engine does, and in this one."""
    from concurrent.futures import ThreadPoolExecutor

    def attached() -> np.ndarray:
        pycuda_api.attach()
        try:
            return round_trip(pycuda_api)
        finally:
            pycuda_api.detach()

    np.testing.assert_array_equal(attached(), np.arange(N))
    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(pool.submit(attached).result(), np.arange(N))
