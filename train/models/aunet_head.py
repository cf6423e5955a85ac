"""The paper's AU heads: FAN's features of one frame (AU-FAN, section IV-A) or of three (AUNet, section IV-C) -> AU
logits.

Trailing comments give shapes for width 256 and crops of 256 px. `AUNetHead` splits into a part per frame (`split`) and
a part per decision (`combine`), so that a live system runs FAN and the projections once per frame and keeps only what
the motion path needs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.blocks import ConvBlock, enlarge


class AUFANHead(nn.Module):
    """AU-FAN: one frame, no motion (section IV-A). F (B, 3 * width, h, h) -> logits (B, n_aus)."""

    def __init__(self, n_aus: int, width: int = 256) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(3 * width, width, kernel_size=1)
        self.ConvNet = _pooled_blocks(width, 4)
        self.predictor = _predictor(width, n_aus)

    def forward(self, features: Tensor) -> Tensor:
        y = self.ConvNet(self.conv1x1(features))  # (B, 256, 4, 4)
        return cast(Tensor, self.predictor(y.mean((2, 3))))  # (B, n)


class AUNetHead(nn.Module):
    """AUNet: the due frame plus the motion path (section IV-C, figure 4b).

    Args:
        n_aus: AUs, in ascending FACS order.
        width: channels, that of FAN.
        alpha, beta: weights of the static and the motion features; 0.9 and 0.1 in the released checkpoints.
    """

    def __init__(self, n_aus: int, width: int = 256, alpha: float = 0.9, beta: float = 0.1) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.conv1x1 = nn.Conv2d(3 * width, width, kernel_size=1)
        self.conv1x1_diff = nn.Conv2d(6 * width, width, kernel_size=1)
        self.ConvNet_1 = _pooled_blocks(width, 1)
        self.ConvNet_diff = _pooled_blocks(width, 1)
        self.ConvNet_2 = _pooled_blocks(width, 3)
        self.predictor = _predictor(width, n_aus)

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """The plain form, as released. Features (B, 3 * width, h, h) of three frames -> logits (B, n_aus).

        Neighbours differ little: means and differences are taken in float32, also where autocast is on.
        """
        before, now, after = (functional.avg_pool2d(x.float(), 2) for x in (former, due, later))
        motion = torch.cat((now - before, after - now), 1)  # (B, 1536, 32, 32)
        return self._decide(self.conv1x1(due), self.conv1x1_diff(motion))

    def from_means(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        """`forward` where only the 2x2 means (B, 3 * width, h/2, h/2) of the former and the later frame were kept.

        Equal to it, since the mean of a difference is the difference of the means.
        """
        mean = functional.avg_pool2d(due.float(), 2)
        return self._decide(self.conv1x1(due), self.conv1x1_diff(torch.cat((mean - former, later - mean), 1)))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part per frame: S (B, width, h, h), E and L (B, width, h/2, h/2); exact, since all of it is linear."""
        pooled = functional.avg_pool2d(features, 2)  # (B, 768, 32, 32)
        early, late = self.conv1x1_diff.weight.chunk(2, 1)
        return self.conv1x1(features), functional.conv2d(pooled, early), functional.conv2d(pooled, late)

    def combine(self, s_due: Tensor, e_former: Tensor, e_due: Tensor, l_due: Tensor, l_later: Tensor) -> Tensor:
        """The part per decision, from `split` of three frames: logits (B, n_aus), equal to `forward`."""
        bias = cast(Tensor, self.conv1x1_diff.bias)[:, None, None]
        return self._decide(s_due, e_due - e_former + l_later - l_due + bias)

    def _decide(self, static: Tensor, motion: Tensor) -> Tensor:
        y = self.alpha * static + self.beta * enlarge(motion)  # (B, 256, 64, 64)
        y = self.alpha * self.ConvNet_1(y) + self.beta * enlarge(self.ConvNet_diff(motion))  # (B, 256, 32, 32)
        y = self.ConvNet_2(y)  # (B, 256, 4, 4)
        return cast(Tensor, self.predictor(y.mean((2, 3))))  # (B, n)


def _pooled_blocks(width: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [ConvBlock(width, width), nn.MaxPool2d(2, 2)]
    return nn.Sequential(*layers)


def _predictor(width: int, n_aus: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width // 2), nn.BatchNorm1d(width // 2), nn.ReLU(inplace=True), nn.Linear(width // 2, n_aus)
    )
