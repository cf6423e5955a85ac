"""Optical flow as motion input instead of feature differences (paper Table XI, "+FlowNet").

The paper takes a learned FlowNet (187.75 M parameters); here it is OpenCV's DIS flow, which has none, or torchvision's
RAFT small (train/models/raft.py), of the due crop to the former and to the later crop. All three are aligned on the due
frame, so the flow is what the face did.

The crop travels with the features of a frame, grey and packed into 16 channels, for RAFT in colour and in 48, so that
the flow is computed when a decision is due.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.models.aunet_head import AUNetHead
from train.models.config import STRIDE
from train.models.raft import LearnedFlow

PACKED = STRIDE * STRIDE
"""Channels of a packed crop, per colour."""
CELL_PX = 8.0
"""The flow is given in cells of the motion path, 8 crop pixels each."""
_GREY = (0.299, 0.587, 0.114)


def pack(crops: Tensor) -> Tensor:
    """Crops (B, 3, R, R) RGB in [0, 1] -> grey, (B, 16, R/4, R/4) in [0, 1]."""
    grey = (crops * crops.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    return functional.pixel_unshuffle(grey, STRIDE)


def unpack(packed: Tensor) -> NDArray[np.uint8]:
    """What `pack` gave -> grey uint8 (B, R, R)."""
    grey = functional.pixel_shuffle(packed.detach().float(), STRIDE)[:, 0]
    return cast(NDArray[np.uint8], (grey * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def pack_colour(crops: Tensor) -> Tensor:
    """Crops (B, 3, R, R) RGB in [0, 1] -> (B, 48, R/4, R/4)."""
    return functional.pixel_unshuffle(crops, STRIDE)


_local = threading.local()


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey uint8 (R, R) twice -> float32 (2, R, R): x, y in px from a pixel of `first` to its place in `second`."""
    if np.array_equal(first, second):  # a neighbour that the due frame stands in for
        return np.zeros((2, *first.shape), np.float32)
    if not hasattr(_local, "dis"):  # keeps buffers between calls: one per thread
        cv2: Any = import_module("cv2")  # its stubs lack this one
        _local.dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return cast(NDArray[np.float32], np.ascontiguousarray(_local.dis.calc(first, second, None).transpose(2, 0, 1)))


class FlowHead(AUNetHead):
    """AUNet's head with optical flow in place of the feature differences.

    Features (B, 3 * width + `packed`, h, h) of three frames, the last channels of `pack_crops` -> logits (B, n_aus). No
    gradient goes into the flow.

    Args:
        learned: the flow network; None: DIS.
    """

    def __init__(
        self, n_aus: int, width: int = 256, alpha: float = 0.9, beta: float = 0.1, learned: LearnedFlow | None = None
    ) -> None:
        super().__init__(n_aus, width, alpha, beta)
        self.conv1x1_diff = nn.Conv2d(4, width, kernel_size=1)
        self.learned = learned
        self.packed = PACKED if learned is None else 3 * PACKED
        """Channels of a packed crop."""

    def pack_crops(self, crops: Tensor) -> Tensor:
        """Crops (B, 3, R, R) RGB in [0, 1] -> what `flow` needs of them, (B, `packed`, R/4, R/4)."""
        return pack(crops) if self.learned is None else pack_colour(crops)

    def flow(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """Packed crops (B, `packed`, h, h) -> (B, 4, h/2, h/2): x, y to the former, x, y to the later frame, in
        cells."""
        if self.learned is not None:
            pictures = [functional.pixel_shuffle(packed.detach().float(), STRIDE) for packed in (former, due, later)]
            moved = torch.cat([self.learned(pictures[1], other) for other in (pictures[0], pictures[2])], 1)
            return functional.avg_pool2d(moved, 2 * STRIDE).to(due.dtype) / CELL_PX
        before, now, after = (unpack(packed) for packed in (former, due, later))
        pairs = zip(before, now, after, strict=True)
        flows = np.stack([np.concatenate((dense_flow(n, b), dense_flow(n, a))) for b, n, a in pairs])
        return functional.avg_pool2d(torch.from_numpy(flows), 2 * STRIDE).to(due.device, due.dtype) / CELL_PX

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        packed = (features[:, -self.packed :] for features in (former, due, later))
        return self.from_flow(due[:, : -self.packed], self.flow(*packed))

    def from_flow(self, due: Tensor, flow: Tensor) -> Tensor:
        """FAN's features (B, 3 * width, h, h) of the due frame and `flow` (B, 4, h/2, h/2) -> logits (B, n_aus)."""
        return self._decide(self.conv1x1(due), self.conv1x1_diff(flow))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flow is no linear function of the frames: there is no part per frame."""
        raise NotImplementedError("the flow of two frames cannot be split into parts per frame; use forward")
