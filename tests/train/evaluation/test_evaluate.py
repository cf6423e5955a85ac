"""`python -m train evaluate` of whatever a run or an import leaves: two heads, one, or a network without landmarks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.train.networks import randomised
from train.cli.main import app
from train.data.sequences import load_split
from train.data.triplets import TripletSet
from train.evaluation.metrics import auc
from train.evaluation.sequences import predict, report_of
from train.models.checkpoint import load_network, save_network
from train.models.config import AU_NUMBERS, ModelConfig
from train.models.model import AUNet, Model
from train.models.variants import VARIANTS, Network, build
from train.paper.activations import open_subject
from train.paper.figure_run import predictions_of

SMALL = ModelConfig(width=8, resolution=64)


def network_of(variant: str, n_aus: int = 15) -> Network:
    torch.manual_seed(3)
    plain = "resnet18" if variant == "resnet18-imagenet" else variant
    network = build(plain, n_aus, width=8, resolution=64)
    randomised(network)
    network.variant = variant
    return network


def evaluated(place: Path, data: Path, code: int = 0) -> dict[str, Any]:
    report = place.with_suffix(".json")
    words = ["evaluate", "--model", place, "--data", data, "--json", report, "--threads", 1, "--frames", 24]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(report.read_text())
    for head in found["heads"]:
        assert f"{head} AUC" in " ".join(result.output.split())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_measured(variant: str, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_network(network_of(variant), SMALL, run / "model.safetensors")
    report = evaluated(run, data)
    assert list(report["heads"]) == [variant] and report["aus"] == [f"AU{n}" for n in AU_NUMBERS]
    of_sequence, alone = (np.array(report["heads"][variant][context]["auc"]) for context in ("sequence", "none"))
    assert np.array_equal(of_sequence, alone, equal_nan=True) is not load_network(run)[0].contexts
    assert ("landmarks" in report) is not variant.startswith(("resnet18", "au-fp"))
    assert ("face_check" in report) is ("landmarks" in report) and set(report["groups"]) == {"black", "white"}


@pytest.mark.parametrize("variant", ["au-flow", "resnet18-a"])
def test_it_is_what_predict_says(variant: str, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "network.safetensors"
    save_network(network_of(variant), SMALL, place)
    sequences = load_split(data, "test")
    found = report_of(place, sequences)["heads"][variant]["sequence"]["auc"]
    said = predictions_of(open_subject(place), TripletSet.from_sequences(sequences, 64))
    wanted = [auc(said.probabilities[:, k], said.labels[:, k]) for k in range(15)]
    # The two crop a stored picture by different interpolations.
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_points_at_rest_are_a_context_of_their_own(data: Path) -> None:
    """Where the set knows them and the head makes use of them; the paper's head does not."""
    torch.manual_seed(3)
    model = randomised(Model(ModelConfig(width=8, resolution=64, geometry=16))).eval()
    sequences = load_split(data, "test")
    rest = np.random.default_rng(0).normal(0, 4, sequences.points.shape).astype(np.float32)
    told = predict(model, dataclasses.replace(sequences, rest=rest))
    assert set(told.probabilities) == {
        *((h, c) for h in ("aunet", "points") for c in ("sequence", "none")),
        ("points", "rest"),
    }
    difference = np.abs(told.probabilities["points", "rest"] - told.probabilities["points", "sequence"])
    assert difference.max() > 1e-3
    assert ("points", "rest") not in predict(model, dataclasses.replace(sequences, rest=None)).probabilities
    plain = randomised(Model(ModelConfig(width=8, resolution=64))).eval()
    assert ("points", "rest") not in predict(plain, dataclasses.replace(sequences, rest=rest)).probabilities


def test_a_model_with_one_head(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = AUNet(SMALL)
    randomised(model)
    model.save(tmp_path / "one.safetensors")
    report = evaluated(tmp_path / "one.safetensors", data)
    assert list(report["heads"]) == ["aunet"] and "landmarks" in report
    both = Model(SMALL)
    both.load_state_dict(model.state_dict())
    both.save(tmp_path / "both.safetensors")
    of_both = evaluated(tmp_path / "both.safetensors", data)
    assert list(of_both["heads"]) == ["aunet", "points"]
    for name in ("auc", "f1"):
        np.testing.assert_allclose(
            report["heads"]["aunet"]["sequence"][name], of_both["heads"]["aunet"]["sequence"][name], atol=1e-6
        )
    assert report["landmarks"] == pytest.approx(of_both["landmarks"])


def test_the_aus_that_both_have_are_measured(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fewer = (2, 6, 12, 25)
    network = network_of("au-tdn", 4)
    save_network(network, ModelConfig(width=8, resolution=64, au_numbers=fewer), tmp_path / "four.safetensors")
    report = evaluated(tmp_path / "four.safetensors", data)
    assert report["aus"] == ["AU2", "AU6", "AU12", "AU25"] and len(report["heads"]["au-tdn"]["none"]["f1"]) == 4
    assert "times the face box" not in caplog.text
    other = ModelConfig(width=8, resolution=64, au_numbers=(3, 5, 11, 13), crop_scale=1.5)
    save_network(network, other, tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="some of the AUs of the model"):
        report_of(tmp_path / "none.safetensors", load_split(data, "test"))
    assert "crops of 1.5 times the face box" in caplog.text
