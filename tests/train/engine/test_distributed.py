"""Two processes train what one trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from train.cli.flags import flags
from train.configs.experiment import read_experiment
from train.engine.distributed import Group, SharedBatchNorm, launched, rows_of, share_batch_norm
from train.evaluation.predictions import Predictions
from train.models.aunet_head import AUNetHead
from train.models.config import ModelConfig
from train.models.model import Model
from train.paper.run import run_paper

OPTIONS = {
    "samples": 16, "test_frames": 9, "batch": 8, "epochs": 2, "lr": 1e-4, "threads": 1, "precision": "fp32",
    "device": "cpu", "eval_frames": 8, "vae_epochs": 2, "eval_every": 2,
}  # fmt: skip


def test_rows_are_dealt_out_once() -> None:
    for count in (0, 1, 7, 64):
        for parts in (1, 2, 3, 8):
            dealt = [row for part in range(parts) for row in range(count)[rows_of(count, part, parts)]]
            assert dealt == list(range(count))


def test_alone_nothing_is_changed() -> None:
    layer = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    assert share_batch_norm(layer, Group()) is layer and not isinstance(layer[0], SharedBatchNorm)
    gradient = torch.nn.Parameter(torch.ones(2))
    gradient.grad = torch.ones(2)
    scalars, stop = Group().sum_gradients([gradient], {"loss": torch.tensor(2.0)}, True)
    assert scalars["loss"] == 2 and stop and not launched()
    assert torch.equal(Group().gather(torch.arange(3)), torch.arange(3))


@pytest.fixture(scope="module")
def fan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("fan") / "fan.safetensors"
    Model(ModelConfig(width=8, resolution=64)).save(path)
    return path


def start(repository: Path, data: Path, fan: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The command of docs/training.md under torchrun, two processes; two runs, one after the other."""
    given = {**OPTIONS, "variants": ["au-fan", "aunet"], "fan": fan, "keep_epochs": True}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "train", "run", "smoke", "--data", str(data), "--out", str(out)]
    command += flags(given)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


def start_of(trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the head before the first step."""
    torch.manual_seed(1)
    head = AUNetHead(15, 8).state_dict()
    return {f"aunet.{name}": tensor for name, tensor in head.items() if f"aunet.{name}" in trained and tensor.ndim > 1}


def test_two_processes_give_the_weights_of_one(repository: Path, data: Path, fan: Path, tmp_path: Path) -> None:
    given = {**OPTIONS, "variants": ["aunet"], "fan": str(fan)}
    (alone,) = read_experiment("smoke", given).runs(str(data), tmp_path / "one")
    run_paper(alone)
    done = start(repository, data, fan, tmp_path / "two")
    assert done.returncode == 0 and "2 processes" in done.stderr, done.stderr
    runs = [Path(alone.run), tmp_path / "two" / "smoke" / "aunet-seed1"]
    assert (tmp_path / "two" / "smoke" / "au-fan-seed1" / "predictions.npz").exists()
    one, two = (load_file(run / "model.safetensors") for run in runs)
    before = Model.load(fan)
    assert one.keys() == two.keys()
    # A batch norm takes away what is added to a whole channel before it: these biases have no gradient but rounding,
    # which AdamW makes steps of, and the running means follow them. What the network says is compared below.
    free = ("conv1x1.bias", "conv1x1_diff.bias", "predictor.0.bias", "running_mean")
    for name, tensor in one.items():
        if not name.endswith(free):
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    moved = max(float((one[name] - tensor).abs().max()) for name, tensor in start_of(one).items())
    assert moved > 2e-4 and torch.equal(one["fan.conv1.weight"], before.fan.conv1.weight)
    first, second = (Predictions.load(run) for run in runs)
    assert len(first) == 9 and np.array_equal(first.frame, second.frame)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-4)
    kept = [Predictions.load(path) for path in sorted((runs[1] / "epochs").glob("predictions-*.npz"))]
    assert np.array_equal(kept[-1].probabilities, second.probabilities)  # every process has read every head
