"""What the tests of the paper's runs share: options of a small one, its weights."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from train.configs.options import PaperOptions
from train.engine.distributed import Group
from train.models.config import ModelConfig
from train.models.model import Model
from train.paper.run import PaperTask


def write_fan(folder: Path) -> Path:
    """A model file of a small FAN with random weights."""
    torch.manual_seed(3)
    path = folder / "fan.safetensors"
    Model(ModelConfig(width=8, resolution=64)).save(path)
    return path


def paper_options(data: Path, fan: Path, run: Path, **values: Any) -> PaperOptions:
    given: dict[str, Any] = {
        "variant": "aunet", "samples": 16, "test_frames": 8, "batch": 8, "epochs": 2, "decay_every": 1, "lr": 1e-3,
        "vae_epochs": 2, "threads": 1, "precision": "fp32", "device": "cpu", "eval_frames": 8, "augment": False,
    }  # fmt: skip
    given |= {"train_on": ("synthetic",), **values}
    return PaperOptions(data=str(data), run=str(run), fan=str(fan), **given)


def changed(options: PaperOptions, **values: Any) -> PaperOptions:
    return PaperOptions(**{**vars(options), **values})


def weights(run: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(run) / "model.safetensors")


def same(first: str | Path, second: str | Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def started(options: PaperOptions) -> PaperTask:
    task = PaperTask(options)
    Path(options.run).mkdir(parents=True, exist_ok=True)
    task.start(torch.device("cpu"), Group(), Path(options.run), threading.Event())
    return task


def stop_at_once(patch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C in the first step."""
    inner = PaperTask.loss

    def loss(self: PaperTask, batch: dict[str, torch.Tensor]) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return inner(self, batch)

    patch.setattr(PaperTask, "loss", loss)
