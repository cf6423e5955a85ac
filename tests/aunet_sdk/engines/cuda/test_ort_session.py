"""Sessions of ONNX Runtime for a GPU: which nodes are left to the CPU, a damaged cache, and how long binding takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aunet_sdk.engines import NEW, Query
from aunet_sdk.engines.cuda.api import OutOfDeviceMemory
from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine
from aunet_sdk.engines.cuda.ort_session import PROVIDERS, log_nodes_on_cpu, nodes_on_cpu, open_session
from aunet_sdk.engines.tensorrt.cache import PlanCache
from aunet_sdk.engines.tensorrt.ort_folder import MARKER
from aunet_sdk.errors import InvalidInput, ModelError

from ..cpu.test_ort import describe, write

ort = pytest.importorskip("onnxruntime")
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("session") / "tell-tale.onnx", describe())


class Session:
    """As much of a session as opening one needs. parts: (provider, operators) of each part of the graph."""

    def __init__(self, first: str = TENSORRT, parts: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> None:
        self._first, self._parts = first, parts

    def disable_fallback(self) -> None: ...

    def get_providers(self) -> list[str]:
        return [self._first, CPU]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
            for name, ops in self._parts
        ]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Puts answers in place of ONNX Runtime's sessions, one each; gives the list of what was asked for."""

    def put(*answers: Any) -> list[Any]:
        seen: list[Any] = []

        def session(path: str, options: Any, providers: Any) -> Any:
            seen.append((options, providers))
            answer = answers[len(seen) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
        return seen

    return put


# Nodes on the CPU


def test_nodes_are_counted_by_operator() -> None:
    parts = ((CUDA, ("Conv", "Relu")), (CPU, ("Shape",)), (CPU, ("Gather",)), (CPU, ("Gather",)))
    found = nodes_on_cpu(Session(CUDA, parts))
    assert found == {"Gather": 2, "Shape": 1} and list(found) == ["Gather", "Shape"]
    assert nodes_on_cpu(Session(CUDA, parts[:1])) == {}


def test_a_real_session_tells(path: Path, tmp_path: Path) -> None:
    """All is on the CPU here; the option that makes ONNX Runtime remember it is set."""
    session = open_session(path, "cpu", {}, PlanCache(tmp_path), tmp_path)
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip(f"ONNX Runtime {ort.__version__} does not tell")
    found = nodes_on_cpu(session)
    assert found is not None and found["Gather"] >= 5


def test_an_old_one_cannot_tell(path: Path) -> None:
    assert nodes_on_cpu(SimpleNamespace()) is None
    forgetful = ort.InferenceSession(str(path), providers=[CPU])  # without that option
    assert nodes_on_cpu(forgetful) is None


def test_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        log_nodes_on_cpu("default", {})
        assert not caplog.messages
        log_nodes_on_cpu("default", {"Gather": 2, "Shape": 1})
        log_nodes_on_cpu("default", None)
    some, unknown = caplog.messages
    assert "runs 3 nodes of default on the CPU: Gather (2), Shape (1); cpu_nodes=False makes" in some
    assert "cannot tell whether nodes of default run on the CPU" in unknown


@pytest.mark.parametrize("allowed", [True, False])
def test_the_engine_tells_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, allowed: bool
) -> None:
    """Where none is allowed ONNX Runtime itself refuses them, and there is nothing to say."""
    real = ort.InferenceSession

    class Shared(real):  # type: ignore[misc,valid-type]
        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(
        ort, "InferenceSession", lambda path, options, providers: Shared(path, ort.SessionOptions(), [CPU])
    )
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr("aunet_sdk.engines.cuda.ort.nodes_on_cpu", lambda session: {"Gather": 2})
    monkeypatch.setattr("aunet_sdk.engines.cuda.ort.OrtValueRing", lambda *_: SimpleNamespace())
    with caplog.at_level(logging.WARNING, "aunet_sdk"):
        engine = OrtGpuStreamEngine(path, provider="cuda", cpu_nodes=allowed)
    assert engine.nodes_on_cpu == ({"Gather": 2} if allowed else {})
    assert caplog.text.count("runs 2 nodes of tell-tale on the CPU: Gather (2)") == allowed


def test_no_node_on_the_cpu_is_asked_for_as_onnxruntime_wants_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider of this wheel that takes no node at all stands in for the GPU's: the refusal is ONNX Runtime's own."""
    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider beside the CPU's")
    monkeypatch.setitem(PROVIDERS, "cuda", "AzureExecutionProvider")
    with pytest.raises(ModelError, match="fallback to CPU EP has been explicitly disabled"):
        open_session(path, "cuda", {}, PlanCache(tmp_path), tmp_path, cpu_nodes=False)
    session = open_session(path, "cuda", {}, PlanCache(tmp_path), tmp_path)
    assert session.get_providers() == ["AzureExecutionProvider", CPU]
    OrtGpuStreamEngine(path, provider="cpu", cpu_nodes=False).close()


def test_the_cpu_itself_is_no_news(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aunet_sdk"), OrtGpuStreamEngine(path, provider="cpu") as engine:
        assert engine.nodes_on_cpu == {} and not caplog.messages


# Its cache


def opened(path: Path, cache: Path, folder: Path, **settings: str) -> Any:
    return open_session(path, "tensorrt", {"trt_engine_cache_path": str(folder), **settings}, PlanCache(cache), folder)


def test_a_damaged_engine_is_removed_and_built_anew(
    path: Path, tmp_path: Path, runtime: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder, beside = tmp_path / "onnxruntime" / "a", tmp_path / "onnxruntime" / "b"
    for each in (folder, beside):
        each.mkdir(parents=True)
        (each / "x.engine").write_bytes(b"half an eng")
    good = Session()
    seen = runtime(RuntimeError("TensorRT EP could not deserialize engine from cache: x.engine"), good)
    assert opened(path, tmp_path, folder) is good and len(seen) == 2
    assert [path.name for path in folder.iterdir()] == [MARKER] and list(beside.iterdir())
    assert "could not deserialize engine" in caplog.text and f"{folder} was emptied" in caplog.text


def test_what_fails_twice_is_an_error(path: Path, tmp_path: Path, runtime: Any) -> None:
    folder = tmp_path / "onnxruntime" / "a"
    folder.mkdir(parents=True)
    (folder / "x.engine").write_bytes(b"fine")
    seen = runtime(RuntimeError("first"), RuntimeError("second"))
    with pytest.raises(ModelError, match=r"tell-tale\.onnx: second; export it again"):
        opened(path, tmp_path, folder)
    assert len(seen) == 2


@pytest.mark.parametrize("why", ["empty", "memory", "a folder of the caller's", "it cannot be removed"])
def test_what_is_no_damaged_engine_is_not_tried_again(
    path: Path, tmp_path: Path, runtime: Any, why: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    folder = tmp_path / "onnxruntime" / "a"
    folder.mkdir(parents=True)
    if why != "empty":
        (folder / "x.engine").write_bytes(b"fine")
    seen = runtime(RuntimeError("CUDA failure 2: out of memory" if why == "memory" else "no"))
    if why == "it cannot be removed":

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", refuse)
    own = tmp_path / "b" if why == "a folder of the caller's" else folder
    with pytest.raises(OutOfDeviceMemory if why == "memory" else ModelError):
        open_session(path, "tensorrt", {"trt_engine_cache_path": str(folder)}, PlanCache(tmp_path), own)
    assert len(seen) == 1 and (why == "empty" or (folder / "x.engine").is_file())
    assert ("cannot be removed" in caplog.text) == (why == "it cannot be removed")


# Copies


class Binding:
    """A binding whose device "there" is the CPU; every call takes time on a clock of the test's own."""

    def __init__(self, real: Any) -> None:
        self._real, self.now_s = real, 0.0

    def bind_input(self, name: str, device: str, *rest: Any) -> None:
        self.now_s += 5.0 if name.startswith("ring_") else 0.001
        self._real.bind_input(name, device.replace("there", "cpu"), *rest)

    def bind_output(self, name: str, device: str, *rest: Any) -> None:
        self.now_s += 5.0
        self._real.bind_output(name, device.replace("there", "cpu"), *rest)


@pytest.mark.parametrize(("device", "in_ms"), [("cpu", 0.0), ("there", 6.0)])
def test_the_time_of_binding_inputs_is_that_of_their_copies(
    path: Path, monkeypatch: pytest.MonkeyPatch, device: str, in_ms: float
) -> None:
    """One crop and five indices, not the rings, which are there already. On the CPU nothing is copied."""
    engine = OrtGpuStreamEngine(path, provider="cpu", max_faces=1)
    assert len(engine._rings) == 3
    binding, session, real = Binding(engine._binding), engine._session, engine._binding
    engine._binding, engine._device = binding, (device, 0)
    engine._session = SimpleNamespace(run_with_iobinding=lambda _: session.run_with_iobinding(real))
    monkeypatch.setattr("aunet_sdk.engines.cuda.ort.time", SimpleNamespace(perf_counter=lambda: binding.now_s))
    for _ in range(2):
        engine.crops[:] = 3.0
        assert engine.step(1, [Query(NEW, NEW, NEW)]).logits[0, 0] == pytest.approx(3.0)
        assert engine.copy_ms == (pytest.approx(in_ms), 0.0)


def test_provider_options_are_checked(path: Path) -> None:
    with pytest.raises(InvalidInput, match="provider_options: expected a mapping"):
        OrtGpuStreamEngine(path, provider="cpu", provider_options=[("a", "b")])  # type: ignore[arg-type]
