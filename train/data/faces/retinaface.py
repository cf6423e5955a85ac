"""RetinaFace with MobileNet 0.25 (Deng et al., CVPR 2020): boxes and five points, as the paper's crops are made from.

The network has the layer names of the published PyTorch weights (biubug6/Pytorch_Retinaface, MIT), so that their file
fits: `mobilenet0.25_Final.pth`. The paper names RetinaFace without saying which; the side of its crop hangs on the
boxes, and docs/data.md has how this one's differ from those of the other finders.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.data.faces.finders import LONGER_SIDE_PX, Found
from train.models.tensor_file import load_exactly, read_state

MEAN_BGR = (104.0, 117.0, 123.0)
SIZES_PX = ((16, 32), (64, 128), (256, 512))
"""Sides of the two anchors of a cell, per level."""
STEPS_PX = (8, 16, 32)
"""Side of a cell, per level."""
VARIANCES = (0.1, 0.2)
"""What centres and points, and sides, are multiplied with."""
SLOPE = 0.1


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.LeakyReLU(SLOPE)] if active else []))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE),
    )


class _Body(nn.Module):
    """Images (B, 3, H, W) -> features of strides 8, 16, 32 with 64, 128, 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        first = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.stage1 = nn.Sequential(_conv(3, 8, stride=2), *(_separable(*sizes) for sizes in first))
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(images)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class _Pyramid(nn.Module):
    """The three levels with 64 channels each, the coarse ones added to the fine ones."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(inputs, 64, kernel=1) for inputs in (64, 128, 256))
        self.merge1, self.merge2 = _conv(64, 64), _conv(64, 64)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> list[Tensor]:
        fine, middle, coarse = self.output1(fine), self.output2(middle), self.output3(coarse)
        middle = self.merge2(middle + functional.interpolate(coarse, middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + functional.interpolate(middle, fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class _Context(nn.Module):
    """Views of 3x3, 5x5 and 7x7 cells side by side: (B, 64, h, w) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = _conv(64, 32, active=False)
        self.conv5X5_1, self.conv5X5_2 = _conv(64, 16), _conv(16, 16, active=False)
        self.conv7X7_2, self.conv7x7_3 = _conv(16, 16), _conv(16, 16, active=False)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.conv5X5_1(x)
        return functional.relu(
            torch.cat((self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))), 1)
        )


class _Head(nn.Module):
    """(B, 64, h, w) -> (B, h * w * 2 anchors, values)."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(64, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)


class RetinaFace(nn.Module):
    """Images (B, 3, H, W) BGR less MEAN_BGR -> per anchor: score of a face, box (4) and points (10) as offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fpn = _Body(), _Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = _Context(), _Context(), _Context()
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList(_Head(values) for _ in STEPS_PX) for values in (2, 4, 10)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.fpn(*self.body(images))
        levels = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        scores, boxes, points = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], 1)
            for heads in (self.ClassHead, self.BboxHead, self.LandmarkHead)
        )
        return scores.softmax(2)[..., 1], boxes, points


def anchors(height: int, width: int) -> NDArray[np.float32]:
    """(A, 3): x and y of the centre and the side of every anchor, px, in the order of the network's outputs."""
    found = []
    for step, sizes in zip(STEPS_PX, SIZES_PX, strict=True):
        y, x, k = np.meshgrid(
            np.arange(math.ceil(height / step)), np.arange(math.ceil(width / step)), np.arange(2), indexing="ij"
        )
        cells = ((x + 0.5) * step, (y + 0.5) * step, np.asarray(sizes)[k])
        found.append(np.stack([np.ravel(part) for part in cells], 1))
    return np.concatenate(found).astype(np.float32)


def decode(
    places: NDArray[np.float32], boxes: NDArray[np.float32], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offsets of anchors (A, 3) -> boxes (A, 4) as x, y, w, h and points (A, 5, 2), px."""
    centre, side = places[:, :2], places[:, 2:]
    middle = centre + boxes[:, :2] * VARIANCES[0] * side
    size = side * np.exp(boxes[:, 2:] * VARIANCES[1])
    found = centre[:, None] + points.reshape(-1, 5, 2) * VARIANCES[0] * side[:, None]
    return np.concatenate((middle - size / 2, size), 1), found


class RetinaFaceFinder:
    """A PointFinder (train.data.faces.finders) on the CPU.

    Args:
        model: the published .pth file, or its tensors as .safetensors.
        longer_side_px: pictures are scaled down to this.
        score, overlap: least score of a face; share of overlap from which two boxes are one face.

    Raises:
        FileNotFoundError, ModelFileError: the file.
    """

    name = "retinaface"

    def __init__(
        self,
        model: str | os.PathLike[str],
        longer_side_px: int = LONGER_SIDE_PX,
        score: float = 0.6,
        overlap: float = 0.4,
    ) -> None:
        self.longer_side_px, self.score, self.overlap = longer_side_px, score, overlap
        state = {key.removeprefix("module."): tensor for key, tensor in read_state(Path(model)).items()}
        self._network = RetinaFace()
        load_exactly(self._network, state, str(model))
        self._network.eval()

    @torch.inference_mode()
    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        """The faces in uint8 (H, W, 3) BGR, the best first."""
        import cv2

        scale = min(1.0, self.longer_side_px / max(image.shape[:2]))
        small: Any = image
        if scale < 1:
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)[None].float()
        outputs = self._network(pixels - pixels.new_tensor(MEAN_BGR)[:, None, None])
        scores, offsets, landmarks = (output[0].numpy() for output in outputs)
        likely = np.flatnonzero(scores >= self.score)
        if not len(likely):
            return []
        boxes, points = decode(anchors(*small.shape[:2])[likely], offsets[likely], landmarks[likely])
        kept = _apart(boxes, scores[likely], self.score, self.overlap)
        zoom = np.array((image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]))
        return [
            Found(boxes[k].astype(np.float64) * np.tile(zoom, 2), points[k] * zoom, float(scores[likely[k]]))
            for k in kept
        ]


def _apart(boxes: NDArray[np.float32], scores: NDArray[np.float32], score: float, overlap: float) -> Sequence[int]:
    """Non-maximum suppression: rows of the boxes that stay, the best first."""
    import cv2

    kept: Any = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), score, overlap)
    return np.asarray(kept, np.int64).ravel().tolist()
