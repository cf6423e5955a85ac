"""ResNet18, the paper's plain baseline (section V-D), and ResNet18-A, which carries the paper's motion path (V-F).

Layer names are torchvision's, so that its ImageNet weights fit. The paper does not say where in ResNet18 the motion
path sits; here it stands after `layer2` (128 x R/8 x R/8), the place that mirrors AUNet: `layer3` takes the part of
ConvNet_1, `layer4` that of ConvNet_2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.blocks import ConvBlock, enlarge
from train.models.config import ModelFileError
from train.models.tensor_file import load_exactly, read_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. (B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The trunk, without the classifier of ImageNet: crops (B, 3, R, R) RGB in [0, 1] -> (B, 512, R/32, R/32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for i, outputs in enumerate((64, 128, 256, 512), 1):
            layer = nn.Sequential(BasicBlock(channels, outputs, 1 if i == 1 else 2), BasicBlock(outputs, outputs, 1))
            self.add_module(f"layer{i}", layer)
            channels = outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def early(self, crops: Tensor) -> Tensor:
        """Up to `layer2`: (B, 128, R/8, R/8). The crops are normalised as ImageNet's images are."""
        mean, std = (crops.new_tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        x = functional.relu(self.bn1(self.conv1((crops - mean) / std)))  # (B, 64, 128, 128)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        return cast(Tensor, self.get_submodule("layer2")(self.get_submodule("layer1")(x)))  # (B, 128, 32, 32)

    def forward(self, crops: Tensor) -> Tensor:
        return cast(Tensor, self.get_submodule("layer4")(self.get_submodule("layer3")(self.early(crops))))

    def load_imagenet(self, path: str | Path) -> None:
        """Weights of an ImageNet classifier with torchvision's names (its own, or timm's), without `fc`.

        Raises FileNotFoundError; ModelFileError where a tensor is missing, left over or of another shape.
        """
        self.load_classifier(read_state(path), str(path))

    def load_classifier(self, state: Mapping[str, Tensor], origin: str) -> None:
        """`load_imagenet` from a state dict."""
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if name in ("fc.weight", "fc.bias")}
        if len(shapes) != 2 or shapes["fc.weight"][1:] != (512,) or shapes["fc.weight"][:1] != shapes["fc.bias"]:
            raise ModelFileError(f"{origin}: expected ResNet18's classifier fc (classes, 512), got {shapes or 'none'}")
        load_exactly(self, {name: tensor for name, tensor in state.items() if name not in shapes}, origin)


class MotionTrunk(nn.Module):
    """ResNet18's `layer3`, `layer4` with the motion path of IV-C between them.

    Early features (B, 128, R/8, R/8) of three frames -> (B, 512, R/32, R/32).
    """

    def __init__(self, trunk: ResNet18, alpha: float = 0.9, beta: float = 0.1) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.layer3, self.layer4 = trunk.get_submodule("layer3"), trunk.get_submodule("layer4")
        self.conv1x1_diff = nn.Conv2d(2 * 128, 128, kernel_size=1)
        self.ConvNet_diff = nn.Sequential(ConvBlock(128, 256), nn.MaxPool2d(2, 2))

    def forward(self, former: Tensor, due: Tensor, later: Tensor) -> Tensor:
        before, now, after = (functional.avg_pool2d(x.float(), 2) for x in (former, due, later))
        motion = torch.cat((now - before, after - now), 1)  # (B, 256, 16, 16), in float32 also where autocast is on
        motion = self.conv1x1_diff(motion)  # (B, 128, 16, 16)
        y = self.alpha * due + self.beta * enlarge(motion)  # (B, 128, 32, 32)
        y = self.alpha * self.layer3(y) + self.beta * enlarge(self.ConvNet_diff(motion))  # (B, 256, 16, 16)
        return cast(Tensor, self.layer4(y))  # (B, 512, 8, 8)
