"""What a laboratory does: miniature trees under one root, `prepared` beside them, and runs of the experiments."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from typer.testing import CliRunner

from train.cli.flags import flags
from train.cli.main import app
from train.data.corpora.corpus import Corpus
from train.data.faces.prepare import Report
from train.models.config import ModelConfig
from train.models.model import Model

SMALL = {
    "folds": [1], "seeds": [1], "batch": 4, "samples": 12, "test_frames": 5, "epochs": 1, "threads": 1,
    "precision": "fp32", "device": "cpu", "eval_frames": 4, "vae_epochs": 1, "lr": 1e-3, "workers": 2,
}  # fmt: skip
"""Options of every run; a FAN of width 8 on crops of 64 px goes with them."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A miniature tree whose faces were found by a real finder."""

    corpus: Corpus
    out: Path
    report: Report


def write_fan(path: Path) -> Path:
    """The smallest FAN, with random weights."""
    torch.manual_seed(3)
    Model(ModelConfig(width=8, resolution=64)).save(path)
    return path


def call(root: Path, experiment: str, variants: str, preset: str = "paper", **values: object) -> Path:
    """`python -m train run EXPERIMENT` with one variant under a root; the run's folder."""
    options = {**SMALL, "variants": [variants], "fan": root / "fan.safetensors", **values}
    words = ["run", experiment, "--data", str(root), "--out", str(root / "runs"), "--preset", preset]
    words += flags(options)
    said(*words)
    end = "" if preset == "paper" else f"-{preset}"
    return root / "runs" / experiment / f"{variants}-fold1-seed1{end}"


def said(*words: object) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
