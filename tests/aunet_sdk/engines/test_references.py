"""Every engine gives each decision the reference of its own row, and its intensity back. Both GPU engines run on fakes:
TensorRT and CUDA in engines/fake_trt.py and fake_cuda.py, and ONNX Runtime's CPU provider for that of CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aunet_sdk.engines import NEW, Query, StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.cuda.ort import OrtGpuStreamEngine
from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine
from aunet_sdk.errors import BundleMismatch

from ..reference_graph import describe, write
from .fake_cuda import FakeCuda
from .fake_trt import fake_tensorrt

Open = Callable[[Path, Path], Any]


def openvino(path: Path, folder: Path) -> Any:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    from aunet_sdk.engines.cpu.openvino import OpenVinoStreamEngine

    return OpenVinoStreamEngine(path, max_faces=4, threads=1, cache=folder)


def fake_trt(path: Path, folder: Path) -> Any:
    cuda = FakeCuda()
    return TrtStreamEngine(path, max_faces=4, library=fake_tensorrt(cuda), cuda=cuda, cache_dir=folder)


ENGINES: dict[str, Open] = {
    "onnxruntime": lambda path, folder: OrtStreamEngine(path, max_faces=4, threads=1),
    "openvino": openvino,
    "onnxruntime-cuda on the CPU": lambda path, folder: OrtGpuStreamEngine(
        path, provider="cpu", max_faces=4, cache_dir=folder
    ),
    "a fake TensorRT": fake_trt,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reference") / "a.onnx", describe())


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Any:
    with ENGINES[request.param](path, tmp_path) as opened:
        yield opened


def rest(total: float) -> np.ndarray:
    """A reference whose numbers have this sum."""
    points = np.zeros((68, 2), np.float32)
    points[3, 1] = total
    return points


def strength(total: float) -> float:
    return float(1 / (1 + np.exp(-total)))


def test_every_row_has_its_own(engine: StreamEngine) -> None:
    for i in range(3):
        engine.crops[i] = 0.1 * (i + 1)
    before = engine.step(3, [Query(NEW, NEW, NEW, rest(i)) for i in range(3)])
    np.testing.assert_allclose(before.logits[:, 0], [0.1, 1.2, 2.3], atol=1e-5)
    assert before.logits_causal is None
    np.testing.assert_allclose(before.logits[:, 4], [strength(0), strength(1), strength(2)], atol=1e-5)
    old = before.slots
    asked = [
        Query(old[0], old[1], NEW),
        None,
        Query(old[2], NEW, NEW, rest(5)),
        Query(old[0], old[1], old[2], rest(-1)),
    ]
    now = engine.step(3, asked, [old[0], None, old[2]], references=[rest(7), None, rest(9)])
    np.testing.assert_allclose(now.logits[:, 0], [0.2, np.nan, 5.3, -0.8], atol=1e-5)
    np.testing.assert_allclose(now.logits_causal[:, 0], [7.1, 0.2, 9.3], atol=1e-5)  # type: ignore[index]
    assert now.logits_causal is not None
    np.testing.assert_allclose(now.logits[:, 3], [0.5, np.nan, strength(5), strength(-1)], atol=1e-5)
    np.testing.assert_allclose(now.logits_causal[:, 5], [strength(7), 0.5, strength(9)], atol=1e-5)


def test_what_was_known_before_is_unknown_where_nothing_is_given(engine: StreamEngine) -> None:
    engine.crops[0] = 0.5
    slot = engine.step(1, [Query(NEW, NEW, NEW, rest(4))]).slots[0]
    np.testing.assert_allclose(engine.step(1, [Query(NEW, NEW, NEW)]).logits[0, 0], 0.5, atol=1e-5)
    kept = engine.step(0, [Query(slot, slot, slot, rest(i % 5)) for i in range(40)])
    np.testing.assert_allclose(kept.logits[:, 0], [0.5 + i % 5 for i in range(40)], atol=1e-5)
    np.testing.assert_allclose(kept.logits[:, 3], [strength(i % 5) for i in range(40)], atol=1e-5)
    np.testing.assert_allclose(engine.query([Query(slot, slot, slot, rest(2))])[0, 0], 2.5, atol=1e-5)


def test_metadata_that_promise_what_the_graph_has_not(tmp_path: Path) -> None:
    for name in ("reference", "intensity"):
        path = write(tmp_path / f"{name}.onnx", describe(**{name: False}))
        with pytest.raises(BundleMismatch, match="by the metadata"):
            OrtStreamEngine(path, threads=1)
