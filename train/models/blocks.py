"""The building blocks of FAN and of the heads; layer names are those of the authors' release."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def pool_of(kind: str) -> nn.Module:
    """The 2x2 pooling of a FAN: 'max' or 'avg'; ValueError for another name."""
    if kind == "max":
        return nn.MaxPool2d(2, 2)
    if kind == "avg":
        return nn.AvgPool2d(2, 2)
    raise ValueError(f"pooling: expected 'max' (the authors' release) or 'avg' (2DFAN-4), got {kind!r}")


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)


class ConvBlock(nn.Module):
    """Multi-scale residual block (figure 5): three pre-activated 3x3 convolutions whose outputs are concatenated.

    (B, inputs, h, w) -> (B, outputs, h, w); `outputs` must be a multiple of 4.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv3x3(inputs, outputs // 2)
        self.bn2 = nn.BatchNorm2d(outputs // 2)
        self.conv2 = _conv3x3(outputs // 2, outputs // 4)
        self.bn3 = nn.BatchNorm2d(outputs // 4)
        self.conv3 = _conv3x3(outputs // 4, outputs // 4)
        self.downsample: nn.Module | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv1(functional.relu(self.bn1(x)))
        quarter = self.conv2(functional.relu(self.bn2(half)))
        last = self.conv3(functional.relu(self.bn3(quarter)))
        residual = x if self.downsample is None else self.downsample(x)
        return torch.cat((half, quarter, last), 1) + residual


class HourGlass(nn.Module):
    """Hourglass of depth 4: pool, recurse, upsample (nearest), add. (B, width, h, w) -> the same; h, w >= 2**depth."""

    def __init__(self, width: int, depth: int, pooling: str) -> None:
        super().__init__()
        self.depth = depth
        self.pool = pool_of(pooling)
        for level in range(depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(width, width))
            self.add_module(f"b2_{level}", ConvBlock(width, width))
            if level == 1:
                self.add_module("b2_plus_1", ConvBlock(width, width))
            self.add_module(f"b3_{level}", ConvBlock(width, width))

    def _level(self, level: int, x: Tensor) -> Tensor:
        up = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(self.pool(x))
        low = self._level(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return up + functional.interpolate(low, scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        return self._level(self.depth, x)


def enlarge(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w), nearest."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
