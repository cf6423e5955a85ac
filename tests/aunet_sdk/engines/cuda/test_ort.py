"""ONNX Runtime's GPU engine: its code on the CPU provider, and its refusals where a GPU provider is not what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from aunet_sdk.bundle import StateSpec
from aunet_sdk.engines import NEW, Query, Slot, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.api import OutOfDeviceMemory
from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine, default_options
from aunet_sdk.engines.cuda.rings import OrtValueRing
from aunet_sdk.engines.tensorrt.build import BuildOptions
from aunet_sdk.engines.tensorrt.profiles import profile_of
from aunet_sdk.errors import BackendUnavailable, BundleMismatch, InvalidInput, ModelError

from ..cpu.test_ort import describe, write

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpu") / "tell-tale.onnx", describe())


def test_same_answers_as_the_other_engine(path: Path) -> None:
    random, gap = np.random.default_rng(0), 6
    ours = OrtGpuStreamEngine(path, provider="cpu", max_faces=3, fps=5)
    theirs = OrtStreamEngine(path, max_faces=3, threads=1, fps=5)
    assert isinstance(ours, StreamEngine) and ours.providers == ("CPUExecutionProvider",)
    kept: list[tuple[list[Slot], list[Slot]]] = []
    for t in range(60):
        faces, values, results = 1 + t // 10 % 3, random.random(3), []
        for one, side in ((ours, 0), (theirs, 1)):
            for crop, value in zip(one.crops, values, strict=True):
                crop[:] = value
            old = kept[-gap][side] if len(kept) >= gap else []
            due = [Query(old[i], old[i], NEW) if i < len(old) else None for i in range(faces)]
            causal = [old[i] if i < len(old) else None for i in range(faces)]
            results.append(one.step(faces, due, causal))
        for name in ("heatmaps", "logits", "logits_causal"):
            np.testing.assert_allclose(getattr(results[0], name), getattr(results[1], name), rtol=1e-6)
        kept.append((results[0].slots, results[1].slots))
    answers = [
        one.query([Query(s, s, s) for slots in kept[-gap:] for s in slots[side]])
        for one, side in ((ours, 0), (theirs, 1))
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)
    ours.close()
    with pytest.raises(InvalidInput, match="an open engine"):
        ours.step(1)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_wheel_without_the_provider(path: Path, provider: str) -> None:
    if any("CUDA" in name or "Tensorrt" in name for name in ort.get_available_providers()):
        pytest.skip("this is a GPU wheel")
    with pytest.raises(BackendUnavailable, match=r"got an ONNX Runtime .* without it .*aunet_sdk\[gpu\]"):
        OrtGpuStreamEngine(path, provider=provider)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_silent_fallback_is_an_error(path: Path, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists a provider, cannot load it, and would go on on the CPU."""
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort,
        "get_available_providers",
        lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(
        ort, "InferenceSession", lambda path, options, providers: real(path, options, ["CPUExecutionProvider"])
    )
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(BackendUnavailable, match="got CPUExecutionProvider: there is no libonnxruntime_providers_"):
        OrtGpuStreamEngine(path, provider=provider, cache_dir=path.parent)


def test_options_reach_the_provider(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def session(path: str, options: Any, providers: Any) -> Any:
        seen["providers"] = providers
        raise RuntimeError("seen enough")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(ModelError, match="seen enough"):
        OrtGpuStreamEngine(
            path, provider="tensorrt", device_id=1, provider_options={"trt_dla_enable": "1"}, cache_dir=path.parent
        )
    names = [name for name, _ in seen["providers"]]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    settings = seen["providers"][0][1]
    assert settings["trt_dla_enable"] == "1" and settings["device_id"] == "1" == seen["providers"][1][1]["device_id"]
    assert settings["trt_profile_max_shapes"].startswith("crop:8x3x8x8,S_due:16,")


def test_default_options() -> None:
    profile = profile_of(describe(), 2)
    cuda = default_options("cuda", profile, BuildOptions(2), 0, Path("c"))
    assert cuda["use_tf32"] == "0"
    assert default_options("cuda", profile, BuildOptions(2, tf32=True), 0, Path("c"))["use_tf32"] == "1"


def test_checks(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="provider: expected one of cuda"):
        OrtGpuStreamEngine(path, provider="rocm")
    with pytest.raises(InvalidInput, match="max_faces"):
        OrtGpuStreamEngine(path, provider="cpu", max_faces=0)
    with pytest.raises(InvalidInput, match="fps"):
        OrtGpuStreamEngine(path, provider="cpu", fps=0)
    wrong = write(tmp_path / "wrong.onnx", describe(au_numbers=(1, 2), thresholds=(0.5, 0.5)))
    with pytest.raises(BundleMismatch, match=r"logits .*\(None, 2\)\) by the metadata, got .*\(None, 5\)"):
        OrtGpuStreamEngine(wrong, provider="cpu")


def test_an_unwritable_cache_is_said(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any) -> None:
    seen: dict[str, Any] = {}

    def session(path: str, options: Any, providers: Any) -> Any:
        seen["settings"] = providers[0][1]
        raise RuntimeError("seen enough")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="seen enough"):
        OrtGpuStreamEngine(path, provider="tensorrt", cache_dir=tmp_path / "file")
    assert "cannot be written" in caplog.text and "name another one" in caplog.text
    assert seen["settings"]["trt_engine_cache_enable"] == seen["settings"]["trt_timing_cache_enable"] == "0"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Providers and options of every session that is asked for; none is made."""
    seen: list[Any] = []

    def session(path: str, options: Any, providers: Any) -> Any:
        seen.append(providers)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    return seen


def ask(path: Path, cache: Path, **options: Any) -> None:
    with pytest.raises(ModelError, match="seen enough"):
        OrtGpuStreamEngine(path, provider="tensorrt", cache_dir=cache, **options)


def test_every_model_and_choice_has_engines_of_its_own(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's own name of an engine says nothing about weights: two models of one name must not share it."""
    for name, spread in (("a", 0.5), ("b", 0.6)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "default.onnx", describe(thresholds=(spread,) * 5))
    first, second = tmp_path / "a" / "default.onnx", tmp_path / "b" / "default.onnx"
    cache = tmp_path / "cache"
    for path in (first, second, first):
        ask(path, cache)
    ask(first, cache, max_faces=3)
    ask(first, cache, workspace_mb=64)
    ask(first, cache, provider_options={"trt_fp16_enable": "1"})
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    ask(first, cache)
    monkeypatch.setattr("aunet_sdk.engines.cuda.ort.driver_version", lambda: "999.9")
    ask(first, cache)
    folders = [Path(providers[0][1]["trt_engine_cache_path"]) for providers in asked]
    assert folders[0] == folders[2] and len(set(folders)) == len(folders) - 1
    assert all(folder.is_dir() and folder.parent == cache / "onnxruntime" for folder in folders)
    assert {providers[0][1]["trt_timing_cache_path"] for providers in asked} == {str(cache / "onnxruntime")}


def is_free(folder: Path) -> bool:
    try:
        with FileLock(folder / "build.lock", timeout=0):
            return True
    except Timeout:
        return False


def test_one_process_at_a_time_writes_engines(
    path: Path, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []
    refuse = ort.InferenceSession

    def session(*arguments: Any, **options: Any) -> Any:
        free.append(is_free(tmp_path))
        return refuse(*arguments, **options)

    monkeypatch.setattr(ort, "InferenceSession", session)
    ask(path, tmp_path)
    assert free == [False]
    assert is_free(tmp_path), "free again"


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32(
    path: Path,
    asked: list[Any],
    tmp_path: Path,
    tf32: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The CUDA provider has an option, which holds for the nodes that TensorRT leaves to it; TensorRT's has none."""
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    ask(path, tmp_path, tf32=tf32, device_id=1)
    assert asked[0][1] == ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": str(int(tf32))})
    assert ("NVIDIA_TF32_OVERRIDE=0" in caplog.text) is not tf32
    caplog.clear()
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    ask(path, tmp_path, tf32=tf32)
    assert "NVIDIA_TF32_OVERRIDE" not in caplog.text


OUT_OF_MEMORY = RuntimeError("CUDA failure 2: out of memory ; GPU=0")


def test_out_of_memory_on_loading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, **__: Any) -> Any:
        raise OUT_OF_MEMORY

    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(OutOfDeviceMemory, match=r"expected free device memory for tell-tale.onnx.*lower max_faces"):
        OrtGpuStreamEngine(path, provider="cpu")


def test_out_of_memory_in_a_step(path: Path) -> None:
    """Results that were delivered before stay as they are."""

    class Short:
        def run_with_iobinding(self, binding: Any) -> None:
            raise OUT_OF_MEMORY

    with OrtGpuStreamEngine(path, provider="cpu", max_faces=2) as engine:
        engine.crops[:] = 3.0
        before = engine.step(1, [Query(NEW, NEW, NEW)])
        logits = before.logits.copy()
        session, engine._session = engine._session, Short()
        with pytest.raises(OutOfDeviceMemory, match="a step of onnxruntime-cpu"):
            engine.step(1)
        engine._session = session
        np.testing.assert_array_equal(before.logits, logits)
        slot = before.slots[0]
        assert engine.query([Query(slot, slot, slot)])[0, 0] == pytest.approx(3.0)


def test_out_of_memory_when_a_ring_grows(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It stays as it is: the newest frames are kept, the oldest given up, and that is logged."""
    real = ort.OrtValue.ortvalue_from_numpy
    limit = 4

    def on_device(array: np.ndarray, device: str, device_id: int) -> Any:
        if len(array) > limit:
            raise OUT_OF_MEMORY
        return real(array, "cpu", 0)

    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", on_device)
    ring = OrtValueRing(StateSpec("E", (2,), "float32", ("former", "due")), 4, 100, "cuda")
    held = []
    for row in range(6):
        start = ring.take(1)
        held.append(Slot(row, 0, (start,)))
        ring.claim(start, held[-1:])
    assert ring.rows == 4 and "cannot grow beyond 4 rows" in caplog.text
    assert [ring.holds(slot, slot.rows[0]) for slot in held] == [False, False, True, True, True, True]
    with pytest.raises(OutOfDeviceMemory, match="MiB of state E"):
        OrtValueRing(StateSpec("E", (2,), "float32", ("due",)), 5, 5, "cuda")


def test_another_failure_of_a_ring_has_a_name_too() -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this is a GPU wheel")
    with pytest.raises(BackendUnavailable, match="MiB of state E"):
        OrtValueRing(StateSpec("E", (2,), "float32", ("due",)), 5, 5, "cuda")
