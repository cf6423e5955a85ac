"""The TensorRT engine over fakes of CUDA and of TensorRT's run time (fake_cuda.py, fake_trt.py).

The fakes compute: what the engine answers is compared with ONNX Runtime's engine on the same graph. They do not show
that TensorRT itself does what its documentation says.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, Slot, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.api import CudaFailure, OutOfDeviceMemory
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.engines.tensorrt.profiles import max_rows, profile_of
from aunet_sdk.errors import BackendUnavailable, EngineMismatch, InvalidInput, ModelError

from ..cpu.test_ort import R
from ..fake_cuda import FakeCuda
from ..fake_trt import fake_tensorrt

Open = Callable[..., TrtStreamEngine]
QUERY = Query(NEW, NEW, NEW)


def feed(engine: StreamEngine, *values: float) -> None:
    for crop, value in zip(engine.crops, values, strict=False):
        crop[:] = value


def since(cuda: FakeCuda, start: int) -> list[str]:
    return cuda.names()[start:]


STEP = ["copy_to_device", "copy_to_device", "execute_async_v3", "copy_to_host", "copy_to_host"]
KEEP = ["copy_on_device"] * 3


def test_is_a_stream_engine(opened: Open) -> None:
    engine = opened()
    assert isinstance(engine, StreamEngine)
    assert engine.name == "tensorrt" and engine.providers == ("tensorrt 10.3.0 on Fake GPU",)
    assert engine.crops.shape == (4, 3, R, R) and engine.crops.dtype == np.float32


@pytest.mark.parametrize(("graphs", "look_ahead"), [(True, "both"), (False, "both"), (True, "full"), (True, "none")])
def test_same_answers_as_onnx_runtime(opened: Open, path: Path, graphs: bool, look_ahead: str) -> None:
    """Faces come and go, rings grow and wrap, queries of kept frames come between: every number is the same."""
    random, gap = np.random.default_rng(3), 7
    engine, reference = opened(graphs=graphs, fps=5), OrtStreamEngine(path, max_faces=4, threads=1, fps=5)
    rows = [ring.rows for ring in engine._rings]
    kept: deque[tuple[list[Slot], list[Slot]]] = deque(maxlen=2 * gap + 1)
    replayed = 0
    for t in range(120):
        faces = 1 + (t // 25) % 3
        results = []
        values = random.random(4)
        for one, side in ((engine, 0), (reference, 1)):
            feed(one, *values)
            old = [kept[-gap][side]] if len(kept) >= gap else []
            older = [kept[-2 * gap][side]] if len(kept) >= 2 * gap else old
            due = [
                Query(older[0][i], old[0][i], NEW) if old and i < min(len(old[0]), len(older[0])) else None
                for i in range(faces)
            ]
            causal = [old[0][i] if old and i < len(old[0]) else None for i in range(faces)]
            asked = [None] * faces if look_ahead == "none" else due
            results.append(one.step(faces, asked, None if look_ahead == "full" else causal))
        ours, theirs = results
        np.testing.assert_allclose(ours.heatmaps, theirs.heatmaps, rtol=1e-6)
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-6)
        assert (ours.logits_causal is None) == (theirs.logits_causal is None)
        if ours.logits_causal is not None:
            np.testing.assert_allclose(ours.logits_causal, theirs.logits_causal, rtol=1e-6)
        kept.append((ours.slots, theirs.slots))
        del results, ours, theirs, due, causal, asked, old, older
        replayed += engine.replays
        if t % 30 == 29:
            answers = []
            for one, side in ((engine, 0), (reference, 1)):
                slots = [slot for pair in list(kept)[-gap:] for slot in pair[side]]
                answers.append(one.query([Query(slot, slot, slot) for slot in slots]))
            del slots
            np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)
            kept.clear()
    assert all(ring.rows > before for ring, before in zip(engine._rings, rows, strict=True))
    assert (replayed > 60) == graphs


def test_order_of_calls(opened: Open, cuda: FakeCuda) -> None:
    engine = opened()
    feed(engine, 1.0)
    names = cuda.names()
    assert names.index("attach") == 0
    before = names.index("stream_create")
    assert "create_execution_context" in names[before:] and "set_input_shape" not in names
    assert len(engine._rings) == 3
    start = len(cuda.calls)
    engine.step(1, [QUERY])
    arrange = ["set_input_shape"] * 9 + ["set_tensor_address"] * 3 + ["infer_shapes"]
    assert since(cuda, start) == [*arrange, *STEP, *KEEP, "stream_wait"]
    start = len(cuda.calls)
    engine.step(1, [QUERY])  # warm: captured, and launched once
    assert since(cuda, start) == ["graph_begin", *STEP, "graph_end", "graph_launch", *KEEP, "stream_wait"]
    start = len(cuda.calls)
    for _ in range(5):
        engine.step(1, [QUERY])
    assert since(cuda, start) == ["graph_launch", *KEEP, "stream_wait"] * 5
    streams = {call[-1] for call in cuda.calls if call[0] in ("copy_to_device", "execute_async_v3", "copy_to_host")}
    assert streams == set(cuda.streams) and 0 not in streams


def test_nothing_is_allocated_after_the_start(opened: Open, cuda: FakeCuda) -> None:
    engine = opened(fps=240)
    assert len(engine._rings) == 3
    start = len(cuda.calls)
    for t in range(40):
        engine.step(1 + t % 4, [QUERY])
    assert not {"malloc", "free", "host_array", "stream_create"} & set(since(cuda, start))


def test_a_change_of_shape_captures_again(opened: Open, cuda: FakeCuda) -> None:
    engine = opened()
    for faces in (1, 1, 1, 3, 3, 3, 1, 1):
        engine.step(faces, [QUERY] * faces)
    names = cuda.names()
    assert names.count("graph_begin") == 3 and names.count("graph_destroy") == 2 and len(cuda.graphs) == 1
    first = names.index("graph_destroy")
    assert names[first + 1] == "set_input_shape"
    # only what changed is set: crop, five indices; the rings did not
    assert names[first + 1 : names.index("infer_shapes", first)] == ["set_input_shape"] * 6


def test_a_ring_that_grows_captures_again(opened: Open, cuda: FakeCuda) -> None:
    engine = opened(fps=5)
    held = []
    for t in range(40):
        feed(engine, float(t))
        held.append(engine.step(1, [QUERY]).slots[0])
        assert len(cuda.graphs) <= 1
    assert cuda.names().count("graph_begin") > 1
    answers = engine.query([Query(slot, slot, slot) for slot in held[-3:]])
    np.testing.assert_allclose(answers[:, 0], [37, 38, 39], rtol=1e-6)
    del held[:]
    for _ in range(3):
        engine.step(1, [QUERY])
    assert engine.replays


def test_numbers_of_queries_are_rounded_so_that_shapes_are_few(opened: Open, cuda: FakeCuda) -> None:
    engine = opened()
    for queries in ([], [QUERY], [QUERY, None], [None, QUERY], [QUERY, QUERY]):
        result = engine.step(2, queries)
        assert result.logits.shape == (len(queries), 5)
    assert {call[2] for call in cuda.calls if call[:2] == ("set_input_shape", "S_due")} == {(2,)}


def test_rows_of_no_query_read_what_is_there(opened: Open) -> None:
    """A run that pads must not read a crop that an earlier, larger run had: on a GPU that is memory of others."""
    engine = opened()
    engine.step(4, [None, None, None, QUERY])
    feed(engine, 5.0)
    assert (engine.step(1).heatmaps == 5.0).all()


def test_more_queries_than_a_run_takes(opened: Open, path: Path) -> None:
    engine, reference = opened(max_faces=2), OrtStreamEngine(path, max_faces=2, threads=1)
    answers = []
    for one in (engine, reference):
        feed(one, 3.0, 4.0)
        old = one.step(2).slots
        feed(one, 5.0, 6.0)
        queries = [Query(old[0], NEW, NEW), Query(old[1], old[1], NEW)] + [Query(s, s, s) for s in old * 4]
        result = one.step(2, queries, [None, old[1]])
        answers.append(np.concatenate([result.logits, result.logits_causal]))  # type: ignore[list-item]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)


def test_heatmaps_stay_until_the_next_step(opened: Open) -> None:
    engine = opened()
    feed(engine, 7.0)
    result = engine.step(1, [QUERY])
    engine.query([Query(result.slots[0], result.slots[0], result.slots[0])])
    assert (result.heatmaps == 7.0).all()


def test_any_thread_may_call(opened: Open) -> None:
    """FakeCuda refuses calls from a thread that did not attach; the engine's own thread makes them all."""
    engine, seen = opened(), []

    def work(value: float) -> None:
        feed(engine, value)
        seen.append(float(engine.step(1, [QUERY]).logits[0, 0]))

    for value in (1.0, 2.0, 3.0):
        thread = threading.Thread(target=work, args=(value,))
        thread.start()
        thread.join()
    assert seen == pytest.approx([1, 2, 3])


def test_close_gives_everything_back(opened: Open, cuda: FakeCuda) -> None:
    engine = opened()
    for _ in range(3):
        slot = engine.step(1, [QUERY]).slots[0]
    crops = engine.crops
    engine.close()
    engine.close()
    assert not cuda.device and not cuda.streams and not cuda.graphs and cuda.owner is None
    crops[:] = 0.5
    for call in (lambda: engine.step(1), lambda: engine.query([Query(slot, slot, slot)])):
        with pytest.raises(InvalidInput, match="an open engine"):
            call()


def test_counts_and_slots_are_checked(opened: Open) -> None:
    engine, other = opened(), opened(cuda=(second := FakeCuda()), library=fake_tensorrt(second))
    with pytest.raises(InvalidInput, match="expected 0 to 4"):
        engine.step(5)
    with pytest.raises(InvalidInput, match="which has no crop"):
        engine.step(1, [None, QUERY])
    with pytest.raises(InvalidInput, match="causal: expected 1"):
        engine.step(1, [], [])
    slot = other.step(1).slots[0]
    with pytest.raises(EngineMismatch, match="another engine"):
        engine.query([Query(slot, slot, slot)])
    assert engine.step(1, [QUERY]).logits.shape == (1, 5)


@pytest.mark.parametrize("options", [{"max_faces": 0}, {"typical_faces": 5}, {"workspace_mb": 0}, {"fps": 0.0}])
def test_options_are_checked(opened: Open, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(options))}: expected"):
        opened(**options)


# What TensorRT and CUDA may refuse


@pytest.mark.parametrize("call", ["set_timing_cache"])
def test_a_timing_cache_that_is_refused_does_no_harm(opened: Open, trt: Any, call: str, tmp_path: Path) -> None:
    trt.give[call] = False
    assert opened().step(1, [QUERY]).logits.shape == (1, 5)
    assert not list((tmp_path / "cache").glob("*.cache"))


@pytest.mark.parametrize(
    ("call", "instead", "error", "text"),
    [
        ("Builder", None, EngineMismatch, "factory function returned nullptr"),
        ("create_network", None, EngineMismatch, "expected a network of tensorrt 10.3.0, got None"),
        ("create_builder_config", None, EngineMismatch, "a builder configuration"),
        ("create_optimization_profile", None, EngineMismatch, "a profile"),
        ("parse_from_file", False, ModelError, "can be parsed, got tell-tale.onnx.*the fake's parser error"),
        ("add_optimization_profile", -1, InvalidInput, "expected smallest <= usual <= largest"),
        ("build_serialized_network", None, ModelError, "to build, got the fake's reason for no plan"),
        ("Runtime", None, BackendUnavailable, "update the NVIDIA driver"),
        ("deserialize_cuda_engine", None, EngineMismatch, "has just built, got the fake's reason for not reading"),
        ("create_execution_context", None, OutOfDeviceMemory, "the fake's reason for no context"),
        ("set_tensor_address", False, EngineMismatch, "expected the address of crop"),
    ],
)
def test_what_fails_at_the_start(
    opened: Open, trt: Any, cuda: FakeCuda, call: str, instead: Any, error: type[Exception], text: str
) -> None:
    trt.give[call] = instead
    with pytest.raises(error, match=text):
        opened()
    assert not cuda.device and not cuda.streams and cuda.owner is None
    trt.give.clear()
    assert opened().step(1, [QUERY]).logits.shape == (1, 5)


@pytest.mark.parametrize(
    ("call", "instead", "error", "text"),
    [
        ("set_input_shape", False, EngineMismatch, "the fake's reason for the shape of"),
        ("infer_shapes", ["crop"], EngineMismatch, "got none for crop"),
        ("execute_async_v3", False, CudaFailure, "to run a step, got the fake's reason for not running"),
    ],
)
def test_what_fails_in_a_step(
    opened: Open, trt: Any, call: str, instead: Any, error: type[Exception], text: str
) -> None:
    """Results that are there stay, and the engine goes on once the cause is gone."""
    engine = opened()
    feed(engine, 1.0)
    first = engine.step(1, [QUERY])
    trt.give[call] = instead
    with pytest.raises(error, match=text):
        engine.step(2, [QUERY, QUERY])
    assert (first.heatmaps == 1.0).all()
    trt.give.clear()
    feed(engine, 2.0, 3.0)
    slot = first.slots[0]
    result = engine.step(2, [Query(slot, slot, NEW), QUERY])
    np.testing.assert_allclose(result.logits[:, 0], [1, 3], rtol=1e-6)


@pytest.mark.parametrize("call", ["attach", "malloc", "stream_create", "host_array"])
def test_cuda_that_fails_at_the_start(opened: Open, cuda: FakeCuda, call: str) -> None:
    cuda.fail.add(call)
    with pytest.raises(CudaFailure, match=f"expected {call}"):
        opened()
    assert not cuda.device and not cuda.streams


@pytest.mark.parametrize("call", ["copy_to_device", "copy_to_host", "copy_on_device", "stream_wait"])
def test_cuda_that_fails_in_a_step(opened: Open, cuda: FakeCuda, call: str) -> None:
    engine = opened()
    cuda.fail.add(call)
    with pytest.raises(CudaFailure, match=f"expected {call}"):
        engine.step(1, [QUERY])
    cuda.fail.clear()
    engine.close()
    assert not cuda.device


@pytest.mark.parametrize("how", ["spoilt", "execute_async_v3", "no graphs"])
def test_without_a_graph_it_goes_on(
    opened: Open, cuda: FakeCuda, trt: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "spoilt":
        cuda.spoil_capture = True
    cuda.has_graphs = how != "no graphs"
    engine = opened()
    engine.step(1, [QUERY])
    if how == "execute_async_v3":
        run, trt.IExecutionContext.execute_async_v3 = (
            trt.IExecutionContext.execute_async_v3,
            lambda self, stream: cuda.capturing is None and run(self, stream),
        )
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        for value in (2.0, 3.0, 4.0):
            feed(engine, value)
            assert engine.step(1, [QUERY]).logits[0, 0] == pytest.approx(value)
    assert not engine.replays and not cuda.graphs
    assert caplog.text.count("without CUDA graphs") == (how != "no graphs")


def test_out_of_memory_at_the_start(opened: Open, cuda: FakeCuda) -> None:
    cuda.limit = 4096
    with pytest.raises(OutOfDeviceMemory, match="expected free device memory"):
        opened()
    assert not cuda.device


def test_out_of_memory_when_a_ring_grows(opened: Open, cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    """It stays as it is: the newest frames are kept, the oldest given up, results go on."""
    engine = opened(fps=5)
    assert len(engine._rings) == 3
    cuda.limit = cuda.used()
    held = []
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        for t in range(30):
            feed(engine, float(t))
            held.append(engine.step(1, [QUERY]).slots[0])
    assert "cannot grow beyond" in caplog.text
    np.testing.assert_allclose(engine.query([Query(s, s, s) for s in held[-2:]])[:, 0], [28, 29], rtol=1e-6)
    with pytest.raises(EngineMismatch, match="given to another frame"):
        engine.query([Query(held[0], held[0], held[0])])


# Memory


def test_rings_never_outgrow_the_profile(path: Path) -> None:
    """Also where a whole step's faces are taken beyond the last row."""
    bundle = Bundle.load(path)
    for faces in (1, 8):
        shapes = profile_of(bundle, faces)
        for state, rows in zip(bundle.state, max_rows(bundle, faces), strict=True):
            assert shapes[f"ring_{state.name}"].largest == (rows + faces, *state.shape)
    huge = Bundle(**{**vars(bundle), "state": (bundle.state[0].__class__("S", (256, 64, 64), "float16", ("due",)),)})
    assert (max_rows(huge, 32)[0] + 32) * 256 * 64 * 64 < 2**31


def test_no_memory_is_kept_by_results(opened: Open) -> None:
    engine = opened()
    rows = [ring.rows for ring in engine._rings]
    for _ in range(200):
        engine.step(1, [QUERY])
    assert [ring.rows for ring in engine._rings] == rows
