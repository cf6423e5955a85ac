"""What a trained network sees: feature maps at three resolutions, the static and the dynamic branch, probabilities.

Works on every network of train.models.variants, through hooks: nothing in the models is written for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.data.triplets import INTERVAL_S, TripletSet
from train.evaluation.sequences import to_input
from train.models.blocks import ConvBlock
from train.models.config import TEMPLATE
from train.models.flow import FlowHead
from train.models.resnet import BasicBlock
from train.models.variants import Network

Maps = NDArray[np.float32]
NAMES = {
    "au-fan": "AU-FAN",
    "au-vae": "AU-VAE",
    "au-tdn": "AU-TDN",
    "aunet": "AUNet",
    "au-flow": "AU-FAN with flow",
    "resnet18": "ResNet18",
    "resnet18-imagenet": "ResNet18, ImageNet",
    "resnet18-a": "ResNet18-A",
}
"""What the paper calls the variants."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """T, the time between the frames of a triplet."""

    seconds: float = INTERVAL_S
    """By a video's rate."""
    frames: int = 0
    """Whatever the rate; 0: by `seconds`."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network that is looked at."""

    name: str
    """For headings."""
    network: Network
    resolution: int
    au_numbers: tuple[int, ...]
    template: tuple[tuple[float, float], ...] = TEMPLATE
    """Five points of its canonical crop, normalised to the crop's side."""
    interval: Interval = Interval()
    """T of its triplets."""


def open_subject(place: str | Path, name: str | None = None) -> Subject:
    """Open a model file, or a run folder of any kind of training; the name is the paper's, if none is given.

    Raises:
        FileNotFoundError: nothing there.  ValueError: something else.
    """
    from train.models.checkpoint import load_network

    network, config = load_network(place)
    options = config.provenance.get("paper", {}).get("options", {})
    return Subject(
        name or NAMES.get(network.variant, network.variant),
        network,
        config.resolution,
        config.au_numbers,
        config.template,
        Interval(config.interval_s, options.get("interval_frames", 0)),
    )


def crops_of(triplets: TripletSet, rows: Sequence[int]) -> NDArray[np.uint8]:
    """(B, 3, R, R, 3) uint8 RGB."""
    return np.stack([triplets.crops(int(row), None) for row in rows])


def _features(subject: Subject, crops: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """Features of former, due and later, from crops (B, 3, R, R, 3); those of due for all three where the others do
    not count or are not there: (B, 1, R, R, 3)."""
    if not subject.network.contexts:
        crops = crops[:, crops.shape[1] // 2 :][:, :1]
    flat = to_input(torch.from_numpy(np.ascontiguousarray(crops.reshape(-1, *crops.shape[2:]))))
    features = subject.network.features(flat).unflatten(0, crops.shape[:2])
    return features[:, 0], features[:, crops.shape[1] // 2], features[:, -1]


@torch.inference_mode()
def probabilities(
    subject: Subject,
    triplets: TripletSet,
    rows: Sequence[int],
    mirrored: bool = False,
    alone: bool = False,
    batch: int = 8,
) -> NDArray[np.float32]:
    """(len(rows), n) in [0, 1]; `mirrored`: of the flipped crops; `alone`: the due frame stands in for both others."""
    from rich.console import Console
    from rich.progress import track

    parts = []
    starts = range(0, len(rows), batch)
    for start in track(starts, subject.name, console=Console(stderr=True), disable=len(rows) < 20 * batch):
        crops = crops_of(triplets, rows[start : start + batch])
        if mirrored:
            crops = crops[:, :, :, ::-1]
        if alone:
            crops = crops[:, 1:2]
        parts.append(subject.network.decide(*_features(subject, crops)).sigmoid().numpy())
    return np.concatenate(parts) if parts else np.empty((0, len(subject.au_numbers)), np.float32)


@torch.inference_mode()
def block_maps(subject: Subject, crops: NDArray[np.uint8]) -> dict[int, Maps]:
    """How strongly each place is represented (figure 6): of the last residual block at R/4, R/8 and R/16.

    Args:
        crops: (B, 3, R, R, 3) uint8 RGB.

    Returns:
        side of the map -> (B, side, side) in [0, 1]: for every channel the deviation from its own mean over the map,
        root mean square over the channels, over the largest in the map.
    """
    resolution = subject.resolution
    wanted = {resolution // 4, resolution // 8, resolution // 16}
    seen: dict[int, Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] in wanted:
            seen[output.shape[-1]] = output

    blocks = [module for module in subject.network.modules() if isinstance(module, ConvBlock | BasicBlock)]
    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        subject.network.decide(*_features(subject, crops))
    finally:
        for handle in handles:
            handle.remove()
    missing = wanted - seen.keys()
    if missing:
        raise ValueError(f"{subject.name}: expected residual blocks with maps of {sorted(wanted)}, none of {missing}")
    maps = {}
    for side in sorted(wanted, reverse=True):
        output = seen[side]
        if len(output) == 3 * len(crops):  # made by `features`, of all three frames: the due one is meant
            output = output.unflatten(0, (len(crops), 3))[:, 1]
        maps[side] = _strength(output - output.mean((2, 3), keepdim=True))
    return maps


@torch.inference_mode()
def motion_maps(subject: Subject, crops: NDArray[np.uint8]) -> tuple[Maps, Maps]:
    """The static and the dynamic branch where they meet for the first time (figure 9).

    Args:
        crops: (B, 3, R, R, 3) uint8 RGB.

    Returns:
        static (B, h, h), as in `block_maps`: what conv1x1 makes of the due frame's features (ResNet18-A: these
        features themselves); dynamic (B, h / 2, h / 2): what conv1x1_diff makes of the motion, without its bias, so
        that it is 0 where nothing moves; root mean square over the channels over the largest in the map.

    Raises:
        ValueError: a network without a motion path.
    """
    branches = [module for module in subject.network.modules() if hasattr(module, "conv1x1_diff")]
    if not branches:
        raise ValueError(
            f"{subject.name}: expected a network with a motion path (au-tdn, aunet, au-flow, resnet18-a), got one "
            "without; figure 9 shows that path"
        )
    head: Any = branches[0]
    former, due, later = _features(subject, crops)
    if isinstance(head, FlowHead):
        movement = head.flow(*(features[:, -head.packed :] for features in (former, due, later)))
        due = due[:, : -head.packed]
    else:
        movement = functional.avg_pool2d(torch.cat((due - former, later - due), 1), 2)
    static = head.conv1x1(due) if hasattr(head, "conv1x1") else due
    dynamic = functional.conv2d(movement, head.conv1x1_diff.weight)
    return _strength(static - static.mean((2, 3), keepdim=True)), _strength(dynamic)


def _strength(maps: Tensor) -> Maps:
    strength = maps.float().pow(2).mean(1).sqrt()
    strength = strength / strength.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return np.asarray(strength.numpy(), np.float32)
