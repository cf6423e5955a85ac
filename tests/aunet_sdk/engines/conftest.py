"""The TensorRT engine over the fakes of CUDA and of TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aunet_sdk.engines.tensorrt.engine import TrtStreamEngine

from .cpu.test_ort import describe, write
from .fake_cuda import FakeCuda
from .fake_trt import fake_tensorrt


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("trt") / "tell-tale.onnx", describe())


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def trt(cuda: FakeCuda) -> Any:
    return fake_tensorrt(cuda)


@pytest.fixture
def opened(path: Path, cuda: FakeCuda, trt: Any, tmp_path: Path) -> Any:
    engines = []

    def make(**options: Any) -> TrtStreamEngine:
        defaults: dict[str, Any] = dict(max_faces=4, library=trt, cuda=cuda, cache_dir=tmp_path / "cache")
        engines.append(TrtStreamEngine(options.pop("bundle", path), **(defaults | options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
