"""What TensorRT may refuse beside what test_trt.py has: memory, timing caches, parsers, addresses. Over the fakes."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.engines import NEW, Query, Slot
from aunet_sdk.engines.cuda.api import OutOfDeviceMemory
from aunet_sdk.engines.tensorrt import api as trt_api
from aunet_sdk.engines.tensorrt.build import build_plan
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.engines.tensorrt.profiles import profile_of
from aunet_sdk.engines.tensorrt.progress import LoggedProgress
from aunet_sdk.errors import EngineMismatch, ModelError

from ..cpu.test_ort import describe

Open = Callable[..., TrtStreamEngine]
QUERY = Query(NEW, NEW, NEW)
SHORT = "[virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: OutOfMemory (Requested size was 4096 bytes.)"


def plans(tmp_path: Path) -> dict[str, bytes]:
    return {plan.name: plan.read_bytes() for plan in (tmp_path / "cache").glob("*.plan")}


@pytest.mark.parametrize("more", [[], ["another error"] * 9], ids=["at the end", "with others after it"])
def test_too_little_memory_for_a_good_plan(opened: Open, trt: Any, tmp_path: Path, more: list[str]) -> None:
    """It is no fault of the plan: that is kept, and runs when there is memory again."""
    opened().close()
    kept = plans(tmp_path)
    trt.give["deserialize_cuda_engine"] = None
    trt.says = [SHORT, *more]
    with pytest.raises(
        OutOfDeviceMemory, match=r"free device memory for the engine of tell-tale .*OutOfMemory.*end ot"
    ):
        opened()
    assert trt.builds == 1 and plans(tmp_path) == kept
    trt.give.clear()
    assert opened().step(1, [QUERY]).logits.shape == (1, 5) and trt.builds == 1


def test_too_little_memory_for_a_plan_for_more_faces(opened: Open, trt: Any, tmp_path: Path) -> None:
    opened(max_faces=6).close()
    trt.give["deserialize_cuda_engine"], trt.says = None, [SHORT]
    with pytest.raises(OutOfDeviceMemory):
        opened(max_faces=3)
    assert trt.builds == 1 and len(plans(tmp_path)) == 1


def test_too_little_memory_for_a_plan_that_was_just_built(opened: Open, trt: Any, tmp_path: Path) -> None:
    trt.give["deserialize_cuda_engine"], trt.says = None, [SHORT]
    with pytest.raises(OutOfDeviceMemory):
        opened()
    assert len(plans(tmp_path)) == 1, "minutes of work"
    trt.give.clear()
    opened()
    assert trt.builds == 1


def test_what_a_good_build_complained_of_is_not_held_against_the_plan(opened: Open, trt: Any) -> None:
    """The builder passes over tactics that need too much memory, with an error in its log, and goes on."""
    trt.on_build = lambda: trt_api.logger_of(trt).log(trt.Logger.ERROR, SHORT)
    trt.give["deserialize_cuda_engine"] = None
    with pytest.raises(EngineMismatch, match="has just built, got the fake's reason for not reading"):
        opened()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("build_serialized_network", "memory to build tell-tale.onnx in tensorrt 10.3.0, got .*OutOfMemory.*no plan"),
        ("OnnxParser", "memory for an ONNX parser of tensorrt 10.3.0, got .*OutOfMemory"),
    ],
)
def test_too_little_memory_to_build(opened: Open, trt: Any, call: str, text: str) -> None:
    trt.give[call], trt.says = None, [SHORT]
    with pytest.raises(OutOfDeviceMemory, match=text):
        opened()


def test_too_little_workspace_is_another_matter(opened: Open, trt: Any) -> None:
    trt.give["build_serialized_network"] = None
    trt.says = ["Error Code 10: Could not find any implementation for node conv due to insufficient workspace."]
    with pytest.raises(ModelError, match=r"insufficient workspace.*change the workspace"):
        opened()


def test_too_little_memory_in_a_step(opened: Open, trt: Any) -> None:
    engine = opened(graphs=False)
    engine.step(1, [QUERY])
    trt.give["execute_async_v3"], trt.says = False, [SHORT]
    with pytest.raises(OutOfDeviceMemory, match=r"to run a step, got .*OutOfMemory"):
        engine.step(1, [QUERY])


@pytest.mark.parametrize("call", ["create_timing_cache", "get_timing_cache"])
def test_no_timing_cache_does_no_harm(opened: Open, trt: Any, call: str, tmp_path: Path) -> None:
    trt.give[call] = None
    assert opened().step(1, [QUERY]).logits.shape == (1, 5)
    assert plans(tmp_path) and not list((tmp_path / "cache").glob("*.cache"))


def test_no_parser(opened: Open, trt: Any) -> None:
    trt.give["OnnxParser"] = None
    with pytest.raises(EngineMismatch, match=r"an ONNX parser of .*nullptr \(the fake's reason for no parser\)"):
        opened()


def test_a_compute_capability_that_is_refused(path: Path, trt: Any) -> None:
    class ComputeCapability(enum.Enum):
        SM89 = 89

    trt.ComputeCapability = ComputeCapability
    trt.IBuilderConfig.set_compute_capability = lambda self, capability, i: False
    with pytest.raises(EngineMismatch, match=r"compute capability 8\.9 to be taken, got no reason given"):
        build_plan(trt, path, profile_of(describe(), 2), compute_capabilities=["8.9"])
    assert trt.builds == 0


def test_an_address_that_is_refused_while_a_ring_grows(opened: Open, trt: Any) -> None:
    """The ring has moved: the next step must set the address that failed, and never run with the old one."""
    engine = opened(fps=5)
    rows = [ring.rows for ring in engine._rings]
    held: list[Slot] = []

    def step() -> None:
        engine.crops[0] = float(len(held))
        held.append(engine.step(1).slots[0])  # with no query about it a frame keeps all its states

    step()
    trt.give["set_tensor_address"] = False
    with pytest.raises(EngineMismatch, match="expected the address of ring_"):
        for _ in range(40):
            step()
    trt.give.clear()
    for _ in range(3):
        step()
    assert any(ring.rows > before for ring, before in zip(engine._rings, rows, strict=True))
    answers = engine.query([Query(slot, slot, slot) for slot in held])
    np.testing.assert_allclose(answers[:, 0], np.arange(len(held)), rtol=1e-6)


# What is told while a plan is built


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_progress_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tell = LoggedProgress("default", clock)
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        tell("Building", 0.0)
        for step in range(100):  # two minutes, with phases inside
            clock.now_s += 1.4
            tell("Tactics", 0.5)
            tell("Building", (step + 1) / 100)
            tell("Tactics", 1.0)
    assert caplog.messages[0] == "building default: Building 10 % (14 s so far)"
    assert caplog.messages[-1] == "building default: Building 100 % (140 s so far)" and len(caplog.messages) == 10


def test_a_build_that_stands_still_is_logged_with_its_phase(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tell = LoggedProgress("default", clock)
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        tell("Building", 0.0)
        for _ in range(60):
            clock.now_s += 1.0
            tell("Tactics", 0.25)
    assert len(caplog.messages) == 4
    assert caplog.messages[0] == "building default: Building 0 %, Tactics (15 s so far)"


def test_a_quick_build_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tell = LoggedProgress("default", clock)
    for step in range(5):
        clock.now_s += 0.9
        tell("Building", step / 4)
    assert not caplog.messages


@pytest.mark.parametrize("own", [False, True])
def test_who_gives_a_callback_gets_no_lines(
    opened: Open, own: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aunet_sdk.engines.tensorrt.progress.PAUSE_S", 0.0)
    opened(**({"progress": lambda phase, share: None} if own else {})).close()
    assert ("building tell-tale: building 25 %" in caplog.text) is not own
