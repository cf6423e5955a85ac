"""How long the copies to the device and back take: by events over the fake of CUDA, whose clock is its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.api import CudaFailure
from aunet_sdk.engines.cuda.bindings import CudaBindings
from aunet_sdk.engines.cuda.copy_timer import CopyClock
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.geometry import crop as alignment
from aunet_sdk.pipeline.crop_inference import FaceNetwork
from aunet_sdk.pipeline.stage_timer import StageTimer

from ..cuda.test_cuda import FakeRuntime
from ..fake_cuda import IN_MS, OUT_MS, FakeCuda

Open = Callable[..., TrtStreamEngine]
QUERY = Query(NEW, NEW, NEW)
BOTH = (2 * IN_MS, 2 * OUT_MS)  # crops and indices in, heatmaps and logits out


@pytest.mark.parametrize("graphs", [True, False])
def test_the_copies_of_every_step_are_timed(opened: Open, graphs: bool) -> None:
    """Also of the step that is captured, and of replays."""
    engine = opened(timed=True, graphs=graphs)
    for t in range(5):
        engine.step(1, [QUERY])
        assert engine.copy_ms == BOTH and engine.replays == (graphs and t > 0)
    engine.step(0, [])
    assert engine.copy_ms == (0.0, 0.0), "nothing ran"


def test_a_step_of_several_runs_adds_them_up(opened: Open) -> None:
    engine = opened(max_faces=2, timed=True)
    old = engine.step(2).slots
    engine.step(2, [QUERY, QUERY] + [Query(s, s, s) for s in old * 2], [None, None])
    assert engine.copy_ms == (BOTH[0] + IN_MS, BOTH[1] + OUT_MS), "indices in and logits out, for the early ones"
    engine.query([Query(s, s, s) for s in old])
    assert engine.copy_ms == (IN_MS, OUT_MS)


def test_nothing_is_measured_unless_it_is_asked_for(opened: Open, cuda: FakeCuda) -> None:
    engine = opened()
    for _ in range(3):
        engine.step(1, [QUERY])
    assert engine.copy_ms == (0.0, 0.0) and not [name for name in cuda.names() if name.startswith("event_")]


def test_it_is_switched_while_the_engine_runs(opened: Open, cuda: FakeCuda) -> None:
    """The captured graph has no events, so that it must be captured again, and once more without them."""
    engine = opened()
    for timed in (False, True, False):
        engine.timed = timed
        for value in (1.0, 2.0, 3.0):
            engine.crops[0] = value
            assert engine.step(1, [QUERY]).logits[0, 0] == pytest.approx(value)
            assert engine.copy_ms == (BOTH if timed else (0.0, 0.0))
        assert engine.replays and len(cuda.events) == (4 if timed else 0)
    assert cuda.names().count("graph_begin") == 3 and len(cuda.graphs) == 1


def test_events_are_given_back(opened: Open, cuda: FakeCuda) -> None:
    engine = opened(timed=True)
    engine.step(1, [QUERY])
    assert len(cuda.events) == 4
    engine.close()
    assert not cuda.events


@pytest.mark.parametrize("call", ["event_create", "event_elapsed_ms"])
def test_results_stay_where_the_clock_fails(
    opened: Open, cuda: FakeCuda, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = opened(timed=True)
    cuda.fail.add(call)
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        for value in (1.0, 2.0, 3.0):
            engine.crops[0] = value
            assert engine.step(1, [QUERY]).logits[0, 0] == pytest.approx(value)
    assert engine.copy_ms == (0.0, 0.0) and not engine.timed and not cuda.events
    assert caplog.text.count("cannot be timed") == 1


def test_a_clock_that_is_made_in_part_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.attach()
    stream, real = cuda.stream_create(), cuda.event_create

    def create() -> int:
        if len(cuda.events) == 2:
            cuda.fail.add("event_create")
        return real()

    monkeypatch.setattr(cuda, "event_create", create)
    with pytest.raises(CudaFailure):
        CopyClock(cuda, stream)
    assert not cuda.events


def test_the_profile_tells_the_copies_from_the_run(opened: Open) -> None:
    """What the stages of a profile are made of."""
    engine = opened(timed=True)
    network = FaceNetwork(engine)
    network._decode = lambda matrices, result: []  # type: ignore[method-assign]  # this bundle has no face to show
    timer = StageTimer()
    matrix = alignment.box_to_matrix(np.array([0.0, 0.0, 8.0, 8.0]), 1.0, engine.bundle.resolution)
    network.look(np.zeros((16, 16, 3), np.uint8), [matrix], timer)
    details = timer.details()
    assert (details["copy_in"], details["copy_out"]) == BOTH


def test_an_event_in_a_capture_is_a_node_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded the ordinary way it would be a mark for other streams alone, without a time."""
    fake = FakeRuntime()
    cuda = CudaBindings.__new__(CudaBindings)
    cuda._rt, cuda._device_id, cuda._graphs, cuda._events = fake, 0, {}, {}
    cuda._out_of_memory = fake.cudaError_t.cudaErrorMemoryAllocation
    fake.cudaEventRecordExternal = 1
    event = cuda.event_create()
    cuda.event_record(event, 11)
    cuda.graph_begin(11)
    cuda.event_record(event, 11)
    cuda.graph_end(11)
    cuda.event_record(event, 11)
    recorded = [call for call in fake.calls if call[0].startswith("cudaEventRecord")]
    assert recorded == [
        ("cudaEventRecord", 12, 11), ("cudaEventRecordWithFlags", 12, 11, 1), ("cudaEventRecord", 12, 11)
    ]  # fmt: skip


def test_the_real_package_has_such_events() -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    assert hasattr(runtime, "cudaEventRecordWithFlags") and runtime.cudaEventRecordExternal == 1


def test_engines_on_the_cpu_copy_nothing(path: Path) -> None:
    with OrtStreamEngine(path, max_faces=1, threads=1) as engine:
        engine.timed = True
        engine.step(1, [QUERY])
        assert engine.copy_ms == (0.0, 0.0)
