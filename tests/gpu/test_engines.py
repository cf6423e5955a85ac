"""Each GPU engine that is installed, on the default bundle, against ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.bindings import CudaBindings
from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine
from aunet_sdk.engines.registry import GPU_ENGINES, open_gpu_engine
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.errors import BackendUnavailable, EngineMismatch

ABSENT = ("No module named", "without it", "expected ONNX Runtime")


def opened(name: str, folder: Path, **options: Any) -> StreamEngine:
    """The engine; skips where it is not installed, fails where it is and does not run."""
    try:
        return open_gpu_engine(Bundle.load(), name, max_faces=4, options={"cache_dir": folder, **options})
    except (BackendUnavailable, EngineMismatch) as error:
        if any(word in str(error) for word in ABSENT):
            pytest.skip(f"{name}: {error}")
        raise


def answers(engine: StreamEngine, steps: int = 30) -> list[np.ndarray]:
    """Probabilities over a stream whose faces come and go."""
    random, kept, found = np.random.default_rng(0), [], []
    for t in range(steps):
        faces = 1 + t // 8 % 3
        engine.crops[:faces] = random.random((faces, *engine.crops.shape[1:]), np.float32)
        old = kept[-5] if len(kept) >= 5 else []
        queries = [Query(old[i], old[i], NEW) if i < len(old) else None for i in range(faces)]
        result = engine.step(faces, queries, [None] * faces)
        kept.append(result.slots)
        for logits in (result.logits, result.logits_causal):
            assert logits is not None
            found.append(1 / (1 + np.exp(-logits.astype(np.float64))))
    return found


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_answers(cuda: CudaBindings, name: str, tmp_path: Path) -> None:
    with OrtStreamEngine(max_faces=4, threads=2) as reference:
        expected = answers(reference)
    engine = opened(name, tmp_path)
    got = answers(engine)
    engine.close()
    gate = {"fp32": 1e-3, "fp16": 5e-3, "int8": 5e-2}[Bundle.load().precision]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=gate)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_graphs_plans_and_closing(cuda: CudaBindings, name: str, tmp_path: Path) -> None:
    first = opened(name, tmp_path)
    assert isinstance(first, TrtStreamEngine) and first.plan.fresh and first.plan.path.is_file()
    for _ in range(3):
        first.step(1, [Query(NEW, NEW, NEW)])
    assert first.replays
    first.close()
    second = opened(name, tmp_path)
    assert isinstance(second, TrtStreamEngine) and not second.plan.fresh
    second.close()
    first.plan.path.write_bytes(first.plan.path.read_bytes()[:-10])
    third = opened(name, tmp_path, graphs=False)
    assert isinstance(third, TrtStreamEngine) and third.plan.fresh and not third.replays
    third.close()


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_copies_are_timed_in_replays_too(cuda: CudaBindings, name: str, tmp_path: Path) -> None:
    engine = opened(name, tmp_path)
    assert isinstance(engine, TrtStreamEngine)
    for timed in (True, False):
        engine.timed = timed
        for _ in range(4):
            engine.step(4, [Query(NEW, NEW, NEW)] * 4)
            assert all((0 < ms < 100) == timed for ms in engine.copy_ms)
        assert engine.replays
    engine.close()


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_nodes_on_the_cpu_are_told(cuda: CudaBindings, name: str, tmp_path: Path) -> None:
    engine = opened(name, tmp_path)
    assert isinstance(engine, OrtGpuStreamEngine)
    found = engine.nodes_on_cpu
    engine.step(1)
    assert engine.copy_ms[0] > 0 and (found is None or "Conv" not in found)
    engine.close()


def test_tensorrt_on_pycuda(tmp_path: Path) -> None:
    driver = pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    driver.init()
    context = driver.Device(0).make_context()
    try:
        engine = opened("tensorrt", tmp_path, cuda="pycuda")
        assert len(answers(engine, 10)) == 20
        engine.close()
    finally:
        context.pop()
        context.detach()
