"""FP16 storage, the parity report, crops, shipping, and the command on a whole model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import typer
from typer.testing import CliRunner

from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from export.build import describe, save, ship, stamp
from export.cli import app
from export.crops import load_triplets
from export.fp16 import SMALL, store_fp16
from export.parity import compare
from train.models.config import ModelConfig
from train.models.model import Model

Exported = Callable[[str, str], Path]


def halved(path: Path, target: Path) -> Path:
    proto = onnx.load(path)
    assert store_fp16(proto) > 20
    stamp(proto, dataclasses.replace(Bundle.load(path), precision="fp16"))
    return save(proto, target)


def test_fp16_storage(model: Model, exported: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half the weights' bytes, and no loss: the checkpoint was stored in FP16, and what folding changed stays FP32."""
    full = exported("stream", "aunet")
    half = halved(full, tmp_path / "half.onnx")

    def weights(path: Path) -> int:
        return sum(len(t.raw_data) for t in onnx.load(path).graph.initializer if len(t.dims) > 1)

    assert weights(half) / weights(full) < 0.6
    triplets, _ = load_triplets(None, 64, 4)
    for path in (half, full):
        assert max(compare(model, path, triplets).max_difference) < 1e-4
    assert capfd.readouterr().err == ""


def test_fp16_storage_rounds_what_was_not_fp16(exported: Exported) -> None:
    proto = onnx.load(exported("stream", "aunet"))
    large = max((t for t in proto.graph.initializer if len(t.dims) == 4), key=lambda t: int(np.prod(t.dims)))
    small = next(t for t in proto.graph.initializer if len(t.dims) == 4 and t.name != large.name)
    for tensor, times in ((large, 16), (small, 1)):
        values = np.repeat(onnx.numpy_helper.to_array(tensor), times, 0) * np.float32(1.0001)
        assert (values.size > SMALL) == (tensor is large)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    store_fp16(proto)
    assert (large.data_type, small.data_type) == (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)


def test_fp16_refuses_what_it_cannot_hold(exported: Exported) -> None:
    proto = onnx.load(exported("stream", "aunet"))
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e6
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ValueError, match="65504"):
        store_fp16(proto)


def test_parity_notices_another_model(model: Model, exported: Exported) -> None:
    from copy import deepcopy

    other = deepcopy(model)
    with torch.no_grad():
        other.points.predictor[4].bias[7] += 0.05  # type: ignore[union-attr]
    triplets, source = load_triplets(None, 64, 3)
    parity = compare(other, exported("stream", "points"), triplets, source)
    assert not parity.passed
    assert 0.003 < parity.max_difference[7] < 0.0126
    assert max(v for i, v in enumerate(parity.max_difference) if i != 7) < 1e-4
    data = json.loads(json.dumps(parity.to_dict(), allow_nan=False))
    assert data["per_au"]["AU12"]["max"] == parity.max_difference[7] and data["triplets"] == 3
    assert not dataclasses.replace(parity, max_difference=(float("nan"),) * 15).passed


def test_triplets_of_images_videos_and_shards(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(4):
        image = np.full((80, 120, 3), 40 * i, np.uint8)
        image[..., 2] = 255  # BGR: red
        cv2.imwrite(str(folder / f"{i}.png"), image)
    crops, _ = load_triplets(folder, 64, 10)
    assert crops.shape == (2, 3, 3, 64, 64) and crops.dtype == np.float32
    np.testing.assert_allclose(crops[0, :, 0], 1.0)
    np.testing.assert_allclose(crops[1, :, 1, 0, 0], np.array([40, 80, 120]) / 255, atol=1e-6)
    assert load_triplets(folder / "1.png", 64)[0].shape == (1, 3, 3, 64, 64)

    shards = tmp_path / "set" / "shards"
    shards.mkdir(parents=True)
    images = np.zeros((5, 4, 160, 160, 3), np.uint8)
    images[:, :, 16:144, 16:144] = (np.arange(4) * 50)[:, None, None, None]  # the margin stays black
    np.savez(shards / "a.npz", images=images)
    for source in (shards / "a.npz",):
        crops, _ = load_triplets(source, 128, 3)
        assert crops.shape == (3, 3, 3, 128, 128)
        np.testing.assert_allclose(crops[0, :, 0].min((1, 2)), np.array([0, 50, 100]) / 255, atol=1e-6)
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"margin": 1.25}))
    np.testing.assert_array_equal(load_triplets(tmp_path / "set", 128, 3)[0], crops)

    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    for i in range(30):
        writer.write(np.full((64, 64, 3), 8 * i, np.uint8))
    writer.release()
    crops, _ = load_triplets(video, 64, 5)
    np.testing.assert_allclose(crops[0].mean((1, 2, 3)) * 255, [0, 80, 160], atol=3)


@pytest.mark.parametrize(
    ("name", "error"), [("none", FileNotFoundError), ("text.png", ValueError), ("text.mp4", ValueError)]
)
def test_crops_that_are_none(tmp_path: Path, name: str, error: type[Exception]) -> None:
    for file in ("text.png", "text.mp4"):
        (tmp_path / file).write_text("no picture")
    with pytest.raises(error, match="crops: expected"):
        load_triplets(tmp_path / name, 64)


def test_ship(exported: Exported, tmp_path: Path) -> None:
    target = ship(exported("stream", "points"), tmp_path / "models")
    bundle = Bundle.load(target)
    manifest = json.loads((tmp_path / "models" / "MANIFEST.json").read_text())
    assert bundle.sha256 == manifest["files"]["default.onnx"]["sha256"]
    small = ship(exported("stream", "aunet"), tmp_path / "models", "nano")
    files = json.loads((tmp_path / "models" / "MANIFEST.json").read_text())["files"]
    assert files["default.onnx"] == manifest["files"]["default.onnx"] and small.name == "nano.onnx"
    assert Bundle.load(small).sha256 == files["nano.onnx"]["sha256"] != bundle.sha256
    clip = onnx.load(small)
    stamp(clip, dataclasses.replace(Bundle.load(small), kind="clip", state=()))
    with pytest.raises(ValueError, match="expected a stream bundle"):
        ship(save(clip, tmp_path / "clip.onnx"), tmp_path / "models")


def test_mean_shape_must_be_there() -> None:
    with pytest.raises(ValueError, match="points3d: expected 68"):
        describe(Model(ModelConfig(width=16, resolution=64)), kind="stream", head="points")


def test_command(exported: Exported) -> None:
    path = exported("stream", "aunet")
    output = " ".join(path.with_suffix(".txt").read_text(encoding="utf-8").split())
    assert "passed, gate 0.0001" in output and "AU12" in output
    report = json.loads(path.with_suffix(".parity.json").read_text(encoding="utf-8"))
    assert report["passed"] is True and report["file"] == path.name
    bundle = Bundle.load(path)
    assert len(bundle.checkpoint_sha256) == 64
    OrtStreamEngine(bundle, threads=1).close()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.safetensors"], 2, "expected a .safetensors file"),
        (["text.safetensors"], 2, "expected a safetensors file"),
        (["text.safetensors", "--kind", "clip", "--ship", "nano"], 2, "--ship"),
        (["text.safetensors", "--head", "cnn"], 2, "cnn"),
        (["text.safetensors", "--precision", "int8", "--storage"], 2, "--storage"),
        (["text.safetensors", "--precision", "fp16", "--symmetric"], 2, "--symmetric"),
    ],
)
def test_command_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.safetensors").write_text("no tensors")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_command_fails_at_the_gate(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported
) -> None:
    """One weight of the real graph is wrong: exit 1, the report is there, the file is not, and nothing is shipped."""
    from export import build, parity

    broken = onnx.load(exported("stream", "points"))
    tensor = next(t for t in broken.graph.initializer if len(t.dims) == 4 and t.dims[2] == 3)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[7] += 0.5 * np.abs(values).max()
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    monkeypatch.setattr(build, "build", lambda *_: broken)
    monkeypatch.setattr(build, "ship", lambda *_, **__: pytest.fail("shipped"))
    assert parity.GATES["fp32"] == 1e-4
    earlier = tmp_path / "x-stream-fp32.onnx"
    earlier.write_text("of an earlier export, which was good")
    arguments = [str(checkpoint), "--kind", "stream", "--limit", "2", "--out", str(tmp_path), "--name", "x"]
    result = CliRunner().invoke(app, [*arguments, "--ship", "default"])
    assert result.exit_code == 1
    assert "FAILED" in result.output and "was not written" in " ".join(result.output.split())
    assert not earlier.exists(), "a file beside a report of another graph would be taken for its own"
    report = json.loads((tmp_path / "x-stream-fp32.parity.json").read_text(encoding="utf-8"))
    assert report["passed"] is False and report["max_difference"] > 1e-4


@pytest.mark.parametrize("labelled", [False, True])
def test_fp16_without_labels_warns(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported, labelled: bool
) -> None:
    """The F1 half of its gate is not judged; the bundle is written all the same."""
    from export import build

    made = onnx.load(halved(exported("stream", "points"), tmp_path / "made.onnx"))
    monkeypatch.setattr(build, "build", lambda *_: made)
    crops = tmp_path / "shards" / "a.npz"
    crops.parent.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 80, 80, 3), np.uint8)
    np.savez(crops, images=images, labels=np.ones((2, 4, 15), np.float32))
    arguments = ["--precision", "fp16", "--storage", "--kind", "stream", "--limit", "2", "--name", "x"]
    given = ["--crops", str(crops)] if labelled else []
    result = CliRunner().invoke(app, [str(checkpoint), *arguments, *given, "--out", str(tmp_path)])
    assert result.exit_code == 0 and (tmp_path / "x-stream-fp16-storage.onnx").is_file(), result.output
    report = json.loads((tmp_path / "x-stream-fp16-storage.parity.json").read_text(encoding="utf-8"))
    assert report["f1_judged"] is labelled and report["passed"] is True
    warning = "warning: the F1 gate of x-stream-fp16-storage.onnx was not judged: the crops have no labels"
    assert (warning in result.output) is not labelled
    assert ("pass --crops SET" in result.output) is not labelled


def test_run_folder_as_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    from export.cli import checkpoint_file

    (tmp_path / "last.safetensors").write_bytes(checkpoint.read_bytes())
    assert checkpoint_file(tmp_path).name == "last.safetensors"
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="expected one"):
        checkpoint_file(tmp_path)


def test_the_order_in_a_run_folder(tmp_path: Path) -> None:
    """What a run writes goes before what anybody put beside it; label VAEs are passed over."""
    from export.cli import checkpoint_file

    for name in ("averaged", "best", "last", "model", "vae-bp4d"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    assert checkpoint_file(tmp_path).name == "model.safetensors"  # the weights that the tables are of
    assert checkpoint_file(tmp_path / "best.safetensors").name == "best.safetensors"
    for name in ("model", "best"):
        (tmp_path / f"{name}.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"expected one .* got averaged\.safetensors, last\.safetensors; name the file"
    ):
        checkpoint_file(tmp_path)
    (tmp_path / "last.safetensors").unlink()
    assert checkpoint_file(tmp_path).name == "averaged.safetensors"
    (tmp_path / "averaged.safetensors").unlink()
    with pytest.raises(ValueError, match="got none"):
        checkpoint_file(tmp_path)


def test_reports_as_markdown(exported: Exported) -> None:
    from export.report import main

    app_of_one = typer.Typer()
    app_of_one.command()(main)
    path = exported("stream", "points").with_suffix(".parity.json")
    output = CliRunner().invoke(app_of_one, [str(path)]).output
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [line for line in output.splitlines() if line.startswith("| AU")]
    assert len(rows) == 1 + 15 and f"| AU12 | {data['per_au']['AU12']['max']:.1e} |" in output
    assert "passed" in output and "FAILED" not in output and "Δp < 0.0001" in output
