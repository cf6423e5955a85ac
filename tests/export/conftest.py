"""Models with random weights and random batch-norm statistics, exported once per run.

The hourglasses have depth 1 instead of 4: the same layers, fewer of them, since tracing takes seconds per graph. A
module that was traced before, by whatever test, gives the graph of then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import onnx
import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from export import build as building
from export.build import build, describe, save
from export.cli import app
from export.fuse import Clip, Stream
from train.models.blocks import HourGlass
from train.models.config import ModelConfig
from train.models.model import Model


def randomise(model: Model, seed: int = 0) -> Model:
    """Statistics far from 0 and 1, so that a mistake in folding them shows; heads that use their whole range."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(0.3, 3.0, generator=generator)
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
            layer.bias.data.normal_(0, 0.3, generator=generator)
    return model.eval()


@contextlib.contextmanager
def shallow_hourglasses() -> Iterator[None]:
    """Models made within have hourglasses of depth 1: they export in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.models.fan.HourGlass", lambda width, _, pooling: HourGlass(width, 1, pooling))
        yield


@pytest.fixture(autouse=True)
def shallow() -> Iterator[None]:
    with shallow_hourglasses():
        yield


class _Contents(pickle.Pickler):
    """Everything that a module holds, its tensors by what is in them."""

    def persistent_id(self, thing: object) -> object:
        if not isinstance(thing, torch.Tensor):
            return None
        return str(thing.dtype), tuple(thing.shape), hashlib.sha256(thing.detach().numpy().tobytes()).hexdigest()


def contents_of(module: torch.nn.Module, args: tuple[object, ...], dynamic: tuple[object, ...]) -> str:
    """A name for what is exported: of the example inputs the shapes and types count."""
    stream = io.BytesIO()
    given = torch.utils._pytree.tree_map(lambda each: (str(each.dtype), tuple(each.shape)), args)
    _Contents(stream, protocol=4).dump((module, given, dynamic))
    return hashlib.sha256(stream.getvalue()).hexdigest()[:32]


@pytest.fixture(autouse=True)
def traced_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's exporter takes 5 s and more of a core per graph, whatever the width, and makes the same one of the same
    module again. Everything behind it (types, metadata, checks, files) runs in every test."""
    export = building._export

    def once(module: Clip | Stream, args: tuple[object, ...], dynamic: tuple[object, ...]) -> onnx.ModelProto:
        name = f"graph-{contents_of(module, args, dynamic)}.onnx"
        return onnx.load(made_once(tmp_path_factory, name, lambda path: save(export(module, args, dynamic), path)))

    monkeypatch.setattr(building, "_export", once)


@pytest.fixture
def sample_part(repository: Path, tmp_path: Path) -> Callable[[int], Path]:
    """count -> a video of the sample's first frames, 25 per second, 640 x 360 px."""

    def get(count: int) -> Path:
        path = tmp_path / "part.avi"
        source = cv2.VideoCapture(str(repository / "examples" / "sample.mp4"))
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 360))
        for _ in range(count):
            writer.write(cv2.resize(source.read()[1], (640, 360)))
        writer.release()
        source.release()
        return path

    return get


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Width 16, 64 px, both heads, a geometry path, intensities, in half precision as training stores it."""
    torch.manual_seed(0)
    config = ModelConfig(
        width=16,
        resolution=64,
        points3d=tuple((float(i % 9) - 4, float(i // 9) - 4, float(i % 5)) for i in range(68)),
        thresholds={"aunet": (0.3,) * 15},
        geometry=24,
        intensity=True,
        provenance={"training_data": "none", "licence": "MIT"},
    )
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    with shallow_hourglasses():
        randomise(Model(config)).save(path, torch.float16)
    return path


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Model:
    with shallow_hourglasses():
        return Model.load(checkpoint)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file of this name, made by the first test that asks: an export takes seconds, and pytest-xdist's workers,
    whose folders lie side by side, share it. `make` may write others beside it before."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "exports"
    folder.mkdir(exist_ok=True)
    path = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(kind, head) -> path of the FP32 bundle, written by the command."""

    def get(kind: str, head: str) -> Path:
        def make(path: Path) -> None:
            options = ["--kind", kind, "--head", head, "--limit", "4", "--out", str(path.parent)]
            result = CliRunner().invoke(app, [str(checkpoint), *options])
            assert result.exit_code == 0, result.output
            path.with_suffix(".txt").write_text(result.output, encoding="utf-8")

        return made_once(tmp_path_factory, f"tiny-{head}-{kind}-fp32.onnx", make)

    return get


@pytest.fixture(scope="session")
def half(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(kind, head) -> path of the half-precision bundle."""

    def get(kind: str, head: str) -> Path:
        bundle = describe(model, kind=kind, head=head, precision="fp16", arithmetic="fp16")
        return made_once(tmp_path_factory, f"half-{kind}-{head}.onnx", lambda path: save(build(model, bundle), path))

    return get
