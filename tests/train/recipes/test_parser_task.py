"""AU-FP: a face parser is trained on part masks, and the head of AU-FAN on its features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.train.paper_runs import changed, paper_options, write_fan
from train.cli.main import app
from train.data.sequences import load_split
from train.evaluation.predictions import Predictions
from train.evaluation.sequences import report_of
from train.models.checkpoint import load_network
from train.models.config import ModelFileError
from train.models.fan import FAN
from train.models.parser import PARTS, FaceParser
from train.models.variants import build
from train.paper.run import PaperTask, run_paper
from train.paper.run_inputs import inputs_of


@pytest.fixture(scope="module")
def parser(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a small parser after 60 steps."""
    run = tmp_path_factory.mktemp("parser") / "run"
    words = ["parser", "--data", data, "--run", run, "--width", 8, "--resolution", 64, "--samples", 960, "--batch", 16,
             "--lr", 0.01, "--ema", 0.9, "--threads", 1, "--device", "cpu", "--precision", "fp32"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return run


def test_it_learns_the_parts(parser: Path) -> None:
    results = json.loads((parser / "results.json").read_text())
    assert results["iou_skin"] > 0.4 and results["iou_background"] > 0.8, results
    network = FaceParser.load(parser)
    assert network.width == 8 and network.config.provenance["parser"]["steps"] == 60
    logits, features = network(torch.rand(2, 3, 64, 64))
    assert logits[-1].shape == (2, len(PARTS), 16, 16) and features.shape == (2, 24, 16, 16)


def test_its_features_are_quiet_where_no_face_is(parser: Path) -> None:
    network = FaceParser.load(parser)
    with torch.no_grad():
        torch.nn.init.zeros_(network.get_submodule("l1").weight)
        bias = network.get_submodule("l1").bias
        assert isinstance(bias, torch.Tensor)
        bias[:] = torch.tensor([50.0, *[0.0] * (len(PARTS) - 1)])
        features = network(torch.rand(1, 3, 64, 64))[1]
    assert features[:, :8].abs().max() > 0 and features[:, 8:].abs().max() < 1e-6


def test_au_fp_is_trained_on_it(data: Path, parser: Path, tmp_path: Path) -> None:
    options = paper_options(data, Path(""), tmp_path / "synthetic" / "au-fp", variant="au-fp", parser=str(parser))
    run_paper(options)
    network, config = load_network(options.run)
    assert network.variant == "au-fp" and config.width == 8 and network.frozen and not network.contexts
    expected = FaceParser.load(parser).state_dict()
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in network.get_submodule("fan").state_dict().items()
    )
    assert Predictions.load(options.run).variant == "au-fp" and set(inputs_of(options)) == {"parser", "data"}
    table = CliRunner().invoke(app, ["tables", options.run, "--table", "III", "--data-set", "synthetic"])
    assert table.exit_code == 0 and "AU-FP" in table.output, table.output
    report = report_of(options.run, load_split(data, "test"))
    assert "au-fp" in str(report), "and `evaluate` measures it, without landmarks"
    with pytest.raises(ValueError, match=r"--parser FILE"):
        PaperTask(changed(options, parser=""))


def test_a_parser_is_no_fan_and_a_fan_no_parser(parser: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no file of `python -m train parser`"):
        FaceParser.load(write_fan(tmp_path))
    with pytest.raises(FileNotFoundError, match="train parser"):
        FaceParser.load(tmp_path / "none")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        FaceParser.load(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match="a face parser for au-fp, got FAN"):
        build("au-fp", 3, resolution=64, fan=FAN(8))
    with pytest.raises(ValueError, match="a FAN with landmarks for au-fan, got FaceParser"):
        build("au-fan", 3, resolution=64, fan=FaceParser(8))
    assert build("au-fp", 3, resolution=64, weights=parser).variant == "au-fp"
