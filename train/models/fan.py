"""FAN, the face alignment network: a crop in, heatmaps of 68 landmarks and the features of the AU heads out.

Layer names are those of the authors' release, so that their checkpoints fit at width 256. Trailing comments give shapes
for width 256 and crops of 256 px.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.blocks import ConvBlock, HourGlass, pool_of
from train.models.config import POINTS


class FAN(nn.Module):
    """Face alignment network with `stacks` hourglasses.

    Args:
        width: channels of an hourglass, a multiple of 8; 256 is the paper's.
        stacks: hourglasses; the features below are defined for 2.
        points: landmarks.
        pooling: 'max' (the authors' release) or 'avg'.
    """

    def __init__(self, width: int = 256, stacks: int = 2, points: int = POINTS, pooling: str = "max") -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width: expected a positive multiple of 8, got {width}")
        self.width, self.stacks = width, stacks
        self.pool = pool_of(pooling)
        self.conv1 = nn.Conv2d(3, width // 4, kernel_size=7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(width // 4)
        self.conv2 = ConvBlock(width // 4, width // 2)
        self.conv3 = ConvBlock(width // 2, width // 2)
        self.conv4 = ConvBlock(width // 2, width)
        for i in range(stacks):
            self.add_module(f"m{i}", HourGlass(width, 4, pooling))
            self.add_module(f"top_m_{i}", ConvBlock(width, width))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, kernel_size=1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(width))
            self.add_module(f"l{i}", nn.Conv2d(width, points, kernel_size=1))
            if i < stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(width, width, kernel_size=1))
                self.add_module(f"al{i}", nn.Conv2d(points, width, kernel_size=1))

    def forward(self, crop: Tensor) -> tuple[list[Tensor], Tensor]:
        """Heatmaps of every stack and the AU features (section IV-A, figure 4).

        Args:
            crop: (B, 3, R, R) RGB float in [0, 1]; R a multiple of 64.

        Returns:
            heatmaps, one (B, 68, R/4, R/4) per stack, raw; features F (B, 3 * width, R/4, R/4): the tensor before the
            first hourglass and, both times the attention plane, the last features of each stack.
        """
        heatmaps, (low, *tops) = self.layers(crop)
        attention = heatmaps[-1].sum(1, keepdim=True)  # (B, 1, 64, 64)
        return heatmaps, torch.cat([low, *(top * attention for top in tops)], 1)  # (B, 768, 64, 64)

    def layers(self, crop: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Heatmaps of every stack, and what the features are made of, before the attention."""
        layer = self.get_submodule
        x = functional.relu(self.bn1(self.conv1(crop)))  # (B, 64, 128, 128)
        x = self.pool(self.conv2(x))  # (B, 128, 64, 64)
        x = self.conv4(self.conv3(x))  # (B, 256, 64, 64)
        heatmaps, features = [], [x]
        for i in range(self.stacks):
            top = layer(f"top_m_{i}")(layer(f"m{i}")(x))  # (B, 256, 64, 64)
            top = functional.relu(layer(f"bn_end{i}")(layer(f"conv_last{i}")(top)))
            heatmaps.append(layer(f"l{i}")(top))  # (B, 68, 64, 64)
            if i < self.stacks - 1:
                top = layer(f"bl{i}")(top)
                x = x + top + layer(f"al{i}")(heatmaps[-1])
            features.append(top)
        return heatmaps, features
