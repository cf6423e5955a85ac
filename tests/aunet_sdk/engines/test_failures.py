"""What ONNX Runtime and OpenVINO raise reaches the caller as an AUNetError, and leaves the engine as it was.

Raw errors of both libraries reached the caller, from opening and from every step (fault 10). They are injected once,
and for good: an engine that fails a hundred times runs as before when the cause is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk import AUNetError
from aunet_sdk.engines import NEW, Query, open_engine
from aunet_sdk.engines.cpu.ort import OrtClip, OrtStreamEngine
from aunet_sdk.engines.ring_engine import RingEngine
from aunet_sdk.errors import BackendUnavailable

from .cpu.test_ort import describe, write


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("failures") / "tell-tale.onnx", describe())


@pytest.fixture(params=["onnxruntime", "openvino"])
def make(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Callable[[], RingEngine]:
    if request.param == "onnxruntime":
        return lambda: OrtStreamEngine(path, max_faces=2, threads=1)
    pytest.importorskip("openvino")
    from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine

    return lambda: OpenVinoStreamEngine(path, max_faces=2, threads=1, cache=tmp_path / "cache")


class Faulty:
    """The real session, binding or request, whose named call raises while `error` is set."""

    def __init__(self, real: Any, call: str) -> None:
        self._real, self._call, self.error = real, call, None

    def __getattr__(self, name: str) -> Any:
        if name == self._call and self.error is not None:
            raise self.error
        return getattr(self._real, name)


def inject(engine: Any, where: str) -> Faulty:
    if isinstance(engine, OrtStreamEngine):
        attribute, call = {
            "run": ("_session", "run_with_iobinding"), "input": ("_binding", "bind_input"),
            "output": ("_binding", "bind_output"),
        }[where]  # fmt: skip
        faulty = Faulty(getattr(engine, attribute), call)
        if attribute == "_session":
            real = engine._session

            class Session(Faulty):
                def run_with_iobinding(self, binding: Any) -> None:
                    if self.error is not None:
                        raise self.error
                    real.run_with_iobinding(binding)

            faulty = Session(real, "")
    else:
        attribute, call = "_request", "infer" if where == "run" else "set_tensor"
        faulty = Faulty(engine._request, call)
    setattr(engine, attribute, faulty)
    return faulty


def sequence(
    engine: RingEngine, fail_at: int | None, faulty: Faulty | None, times: int, error: Exception
) -> np.ndarray:
    """Logits of eight frames, each decided with the two before it; one frame fails `times` times before it goes."""
    kept: list[Any] = []
    found = []
    for frame in range(8):
        engine.crops[:1] = 0.1 * frame
        asked = [Query(kept[-2], kept[-1], NEW)] if len(kept) > 1 else [Query(NEW, NEW, NEW)]
        if frame == fail_at:
            assert faulty is not None
            for _ in range(times):
                faulty.error = error  # type: ignore[assignment]
                with pytest.raises(BackendUnavailable, match=f"to run a step, got {type(error).__name__}.*repeat it"):
                    engine.step(1, asked)
                if len(kept) > 1:
                    with pytest.raises(BackendUnavailable):
                        engine.query([Query(kept[-2], kept[-1], kept[-1])])
            faulty.error = None
            engine.crops[:1] = 0.1 * frame
        result = engine.step(1, asked)
        kept.append(result.slots[0])
        found.append(result.logits[0].copy())
    return np.array(found)


@pytest.mark.parametrize("where", ["run", "input", "output"])
@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("error", [RuntimeError("a\nlong  story"), MemoryError(), ValueError("x" * 5000)])
def test_a_step_that_fails(make: Callable[[], RingEngine], where: str, times: int, error: Exception) -> None:
    with make() as engine:
        expected = sequence(engine, None, None, 0, error)
    with make() as engine:
        faulty = inject(engine, where)
        # In the first frame all is bound; later OpenVINO and ONNX Runtime bind what changed alone.
        assert np.array_equal(sequence(engine, 0, faulty, times, error), expected, equal_nan=True)
        assert np.array_equal(sequence(engine, 5, faulty, 0, error), expected, equal_nan=True)
        if where == "run":
            assert np.array_equal(sequence(engine, 5, faulty, times, error), expected, equal_nan=True)


def test_a_real_error_of_onnxruntime(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A gather beyond the ring's end: what a bug in the account of rows would be."""
    with OrtStreamEngine(path, max_faces=1, threads=1) as engine:
        slot = engine.step(1, [Query(NEW, NEW, NEW)]).slots[0]
        resolve = engine._resolve

        def beyond(*arguments: Any) -> Any:
            rows = resolve(*arguments)
            engine._indices[:, 0] = 10**9
            return rows

        engine._resolve = beyond  # type: ignore[method-assign]
        with pytest.raises(
            BackendUnavailable, match=r"onnxruntime to run a step, got RuntimeError: .*out of data bounds.*repeat it"
        ):
            engine.step(1, [Query(slot, slot, NEW)])
        del engine._resolve
        assert np.isfinite(engine.step(1, [Query(slot, slot, NEW)]).logits).all()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "onnxruntime-cuda", "tensorrt", "auto"])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError()])
def test_an_engine_that_does_not_open(
    path: Path, engine: str, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("cpu.ort.OrtStreamEngine", "cpu.openvino.OpenVinoStreamEngine", "cuda.ort.OrtGpuStreamEngine",
                 "tensorrt.engine.TrtStreamEngine"):  # fmt: skip
        monkeypatch.setattr(f"aunet_sdk.engines.{name}.__init__", refuse)
    with pytest.raises(BackendUnavailable, match=r"expected engine \S+ to (open|run a short trial), got"):
        open_engine(path, engine)


def test_an_openvino_that_does_not_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    from aunet_sdk.engines.cpu import openvino as module

    def refuse() -> None:
        raise RuntimeError("Cannot load library libopenvino_intel_cpu_plugin.so")

    monkeypatch.setattr(module, "_made", [])
    monkeypatch.setattr(openvino, "Core", refuse)
    with pytest.raises(BackendUnavailable, match="expected OpenVINO to start, got RuntimeError: Cannot load"):
        open_engine(path, "openvino")
    assert module.describe().startswith("not available: expected OpenVINO to start")


def test_a_clip_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Refuses:
        def run(self, *_: object) -> None:
            raise RuntimeError("no")

    clip = OrtClip.__new__(OrtClip)
    clip.bundle, clip._session = describe(kind="clip", state=()), Refuses()
    side = clip.bundle.resolution
    with pytest.raises(AUNetError, match="expected ONNX Runtime to run a clip graph, got RuntimeError: no"):
        clip(np.zeros((1, 3, 3, side, side), np.float32))
