"""A learned optical flow for Table XI: torchvision's RAFT small, frozen, in the place of the paper's FlowNet.

The network is `torchvision.models.optical_flow.raft_small` (990,162 parameters), its weights are a file with
torchvision's names (its `raft_small_C_T_V2-01064c6d.pth`). Images go in as torchvision's preset has them, in [-1, 1],
with a side that is a multiple of 8 and 128 px at least; the flow is that of the last of 12 refinements.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aunet_sdk.errors import BackendUnavailable
from train.models.tensor_file import load_exactly, read_state

LEAST_PX = 128
MULTIPLE_PX = 8
REFINEMENTS = 12


class LearnedFlow(nn.Module):
    """A frozen flow network, called as torchvision's RAFT is.

    Pictures (B, 3, R, R) RGB in [0, 1] twice -> (B, 2, R, R) float32: x, y in px from a pixel of the first to its place
    in the second. Where both are the same, as where the due frame stands in for a neighbour, the flow is 0.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> LearnedFlow:
        return super().train(False)

    @torch.no_grad()
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        side = first.shape[-1]
        taken = max(LEAST_PX, -(-side // MULTIPLE_PX) * MULTIPLE_PX)
        with torch.autocast(first.device.type, enabled=False):
            images = [_scaled(picture.float(), taken) * 2 - 1 for picture in (first, second)]
            flow: Tensor = self.network(*images, num_flow_updates=REFINEMENTS)[-1]
            if taken != side:
                flow = functional.interpolate(flow, (side, side), mode="bilinear", align_corners=False) * side / taken
        moved = (first != second).flatten(1).any(1)
        return flow * moved[:, None, None, None]


def _scaled(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture.contiguous()
    return functional.interpolate(picture, (side, side), mode="bilinear", align_corners=False)


def raft_small(weights: str | Path | None = None) -> LearnedFlow:
    """torchvision's RAFT small with the weights of a file; None: random ones, to be filled from a model's file.

    Raises:
        BackendUnavailable: torchvision is not there, or does not fit this torch.
        FileNotFoundError, ModelFileError: the file.
    """
    try:
        module: Any = import_module("torchvision.models.optical_flow")
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch fails in its own ways
        raise BackendUnavailable(
            f"flow: expected torchvision for raft, got {type(error).__name__}: {error}; install aunet_sdk[raft] with "
            "the torchvision that belongs to this torch, or take --flow dis"
        ) from error
    network: nn.Module = module.raft_small(weights=None)
    if weights is not None:
        load_exactly(network, read_state(weights), str(weights))
    return LearnedFlow(network)
