"""Heads of the epochs of a run, kept beside its last weights: `epochs/head-003.safetensors`, `predictions-003.npz`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from train.engine.run_folder import replacing
from train.models.tensor_file import write_tensors
from train.models.variants import FanNetwork


def epochs_folder(folder: Path) -> Path:
    """Where a run keeps the heads of its epochs and what they predict."""
    return folder / "epochs"


def keep_head(head: nn.Module, folder: Path, epoch: int) -> None:
    """Write the head of an epoch (from 1) of the run in `folder`."""
    place = epochs_folder(folder)
    place.mkdir(exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in head.state_dict().items()}
    with replacing(place / f"head-{epoch:03d}.safetensors") as partial:
        write_tensors(tensors, partial, {"epoch": str(epoch)})


def kept_heads(network: FanNetwork, folder: Path, device: torch.device) -> Iterator[tuple[int, FanNetwork]]:
    """Epoch and network, on `device`, of every head that was kept; FAN is that of `network`."""
    for path in sorted(epochs_folder(folder).glob("head-*.safetensors")):
        head = copy.deepcopy(network.head)
        head.load_state_dict(load_file(path, device=str(device)))
        yield int(path.stem.removeprefix("head-")), FanNetwork(network.variant, network.fan, head).eval()
