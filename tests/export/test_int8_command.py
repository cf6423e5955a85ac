"""`python -m export --precision int8`: what calibrates, what chooses, what judges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from aunet_sdk.bundle import Bundle
from export.cli import app
from export.crops import Sample, load_clip, load_sample
from export.parity import reference
from train.models.model import Model

Exported = Callable[[str, str], Path]


def test_int8_command(
    checkpoint: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported
) -> None:
    """From the exported graph on, all of it: calibration, choice, both engines, gate. The limits are so wide that the
    convolutions need not be tried one by one, which test_quantise.py does on small graphs."""
    from export import build, quantise

    full = onnx.load(exported("stream", "aunet"))
    monkeypatch.setattr(build, "build", lambda *_: full)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 4, 10, 10, 3), np.uint8).repeat(8, 2).repeat(8, 3)
    shard = tmp_path / "shards" / "a.npz"
    shard.parent.mkdir()
    np.savez(shard, images=images)
    sample = load_sample(shard, 64, 24)
    probabilities = reference(model, "aunet", sample).probabilities
    labels = np.full((24, 4, 15), np.nan, np.float32)
    labels[:, 1] = np.where(np.abs(probabilities - 0.3) > 0.1, probabilities > 0.3, np.nan)

    calibration: list[str] = []
    selection: list[Sample] = []
    real = quantise.quantise

    def watched(proto: onnx.ModelProto, described: Bundle, ranges: Sample, chosen: Sample) -> quantise.Quantised:
        calibration.append(ranges.name)
        selection.append(chosen)
        return real(proto, described, ranges, chosen, quantise.Limits(mean_difference=0.05, landmark_px=5.0))

    monkeypatch.setattr(quantise, "quantise", watched)
    whole = tmp_path / "set"
    (whole / "shards").mkdir(parents=True)
    order = [*range(1, 15), 0]
    np.savez(
        whole / "shards" / "a.npz",
        images=images.repeat(3, 0),
        labels=labels[..., order].repeat(3, 0),
        identity=np.array(["a", "b", "c"] * 24),
    )
    own = [model.config.au_numbers[i] for i in order]
    splits = {"train": ["a"], "val": ["b"], "test": ["c"]}
    (whole / "dataset.json").write_text(json.dumps({"margin": 1.25, "splits": splits, "au_numbers": own}))
    arguments = ["--precision", "int8", "--kind", "stream", "--head", "aunet", "--name", "x", "--limit", "24"]
    result = CliRunner().invoke(app, [str(checkpoint), *arguments, "--crops", str(whole), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "x-stream-int8.parity.json").read_text(encoding="utf-8"))
    assert calibration[-1].endswith("split train") and selection[-1].name.endswith("split val")
    assert selection[-1].labels is not None
    np.testing.assert_array_equal(selection[-1].labels, labels[:, 1])
    assert str(report["crops"]).endswith("split test")
    assert report["passed"] is True and abs(float(str(report["f1_change"]))) <= 0.01
    assert float(str(report["max_difference"])) > 0
    assert report["convolutions"] == sum(node.op_type == "Conv" for node in full.graph.node)
    assert Bundle.load(tmp_path / "x-stream-int8.onnx").arithmetic == "int8"


@pytest.mark.parametrize("crops", [None, "a.npz"])
def test_int8_without_labels_is_refused_before_the_work(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: str | None
) -> None:
    from export import build

    monkeypatch.setattr(build, "build", lambda *_: pytest.fail("the export began"))
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 80, 80, 3), np.uint8))
    given = [] if crops is None else ["--crops", str(tmp_path / crops)]
    arguments = [str(checkpoint), "--precision", "int8", *given, "--limit", "2", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "expected crops with labels for its gate" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("splits", "calibrate", "missing"),
    [
        (None, None, "train, val, test"),
        ("train test", None, "val"),
        ("val test", None, "train"),
        ("val test", "set", "train"),
        ("train val", None, "test"),
        ("test", "images", "val"),
        ("val test", "images", None),
        ("train val test", None, None),
    ],
)
def test_int8_is_not_judged_on_what_made_it(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    splits: str | None,
    calibrate: str | None,
    missing: str | None,
) -> None:
    """A set without a split, or a shard by itself (None), would calibrate, choose and judge on the same crops."""
    from export import build

    def reached(*_: object) -> None:
        raise ValueError("the export began")

    monkeypatch.setattr(build, "build", reached)
    (tmp_path / "set" / "shards").mkdir(parents=True)
    crops = tmp_path / "set" / "shards" / "a.npz"
    labels, people = np.zeros((3, 4, 15), np.float32), np.array(["train", "val", "test"])
    np.savez(crops, images=np.zeros((3, 4, 80, 80, 3), np.uint8), labels=labels, identity=people)
    if splits is not None:
        crops = tmp_path / "set"
        described = {"margin": 1.25, "splits": {split: [split] for split in splits.split()}}
        (crops / "dataset.json").write_text(json.dumps(described))
    (tmp_path / "images").mkdir()
    given = ["--calibrate", str(tmp_path / calibrate)] if calibrate else []
    arguments = ["--precision", "int8", "--kind", "stream", "--limit", "2", "--crops", str(crops), *given]
    result = CliRunner().invoke(app, [str(checkpoint), *arguments, "--out", str(tmp_path / "out")])
    output = " ".join(result.output.split())
    assert result.exit_code == 2
    assert ("the export began" if missing is None else f"without {missing}:") in output


def test_int8_calibrates_on_the_face_of_a_video(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Exported,
    sample_part: Callable[[int], Path],
) -> None:
    """Found and aligned as in live use, and together with the train split of a set."""
    from export import build, quantise

    calibration: list[Sample] = []

    def watched(proto: onnx.ModelProto, described: Bundle, ranges: Sample, chosen: Sample) -> None:
        calibration.append(ranges)
        raise ValueError("the quantisation began")

    full = onnx.load(exported("stream", "points"))
    monkeypatch.setattr(build, "build", lambda *_: full)
    monkeypatch.setattr(quantise, "quantise", watched)
    crops = tmp_path / "set"
    (crops / "shards").mkdir(parents=True)
    labels, people = np.zeros((3, 4, 15), np.float32), np.array(["train", "val", "test"])
    images = np.full((3, 4, 80, 80, 3), 7, np.uint8)
    np.savez(crops / "shards" / "a.npz", images=images, labels=labels, identity=people)
    splits = {name: [name] for name in ("train", "val", "test")}
    (crops / "dataset.json").write_text(json.dumps({"margin": 1.25, "splits": splits}))
    video = sample_part(24)
    arguments = ["--precision", "int8", "--kind", "stream", "--limit", "4", "--crops", str(crops)]
    given = ["--calibrate", str(crops), "--calibrate", str(video)]
    result = CliRunner().invoke(app, [str(checkpoint), *arguments, *given, "--out", str(tmp_path)])
    assert result.exit_code == 2 and "the quantisation began" in result.output, result.output
    (ranges,) = calibration
    assert ranges.name == "1 triplets of set, split train, 2 triplets of part.avi, aligned"
    assert ranges.crops.shape == (3, 3, 3, 64, 64) and (ranges.crops[0] == 7).all()
    bundle = Bundle.load(exported("stream", "points"))
    face = load_clip(video, 64, bundle.template, bundle.interval_s, 2).crops
    square = load_sample(video, 64, 2).crops
    apart = [np.abs(ranges.crops[1:].astype(int) - other).mean() for other in (face, square)]
    assert apart[0] < 1 and apart[1] > 10, "not the middle of the picture"


def test_int8_is_not_compared_on_the_clip_that_calibrated_it(checkpoint: Path, tmp_path: Path) -> None:
    both = ["--clip", str(tmp_path / "a.mp4"), "--calibrate", str(tmp_path / "a.mp4")]
    result = CliRunner().invoke(app, [str(checkpoint), "--precision", "int8", *both, "--out", str(tmp_path)])
    assert result.exit_code == 2 and "got a.mp4 for both" in " ".join(result.output.split())
