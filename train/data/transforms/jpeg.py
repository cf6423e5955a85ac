"""JPEG's losses without its bits: colours at half the resolution, rounded cosine coefficients; baseline, 4:2:0.

Tables and their scaling are those of Annex K of ITU-T T.81 and of libjpeg's quality.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 8
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *[99] * 32,
)  # fmt: skip
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compressed(crops: Tensor, quality: Tensor) -> Tensor:
    """Crops after JPEG.

    Args:
        crops: (B, F, 3, R, R) float32 RGB, 0 to 255; R a multiple of 16.
        quality: (B,) 1 to 100, as libjpeg counts.

    Returns:
        the same shape, whole grey levels.
    """
    if crops.shape[-1] % (2 * BLOCK):
        raise ValueError(f"crops: expected a side that is a multiple of {2 * BLOCK}, got {crops.shape[-1]}")
    planes = torch.einsum("kc,bfcyx->bfkyx", crops.new_tensor(_TO_YCBCR), crops)
    luma, chroma = planes[:, :, :1].round(), (planes[:, :, 1:] + 128).round()
    small = functional.avg_pool2d(chroma.flatten(0, 1), 2).round()
    luma = _quantised(luma - 128, _table(_LUMA, quality)) + 128
    small = _quantised(small.unflatten(0, crops.shape[:2]) - 128, _table(_CHROMA, quality))
    wide = functional.interpolate(small.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False)
    planes = torch.cat((luma, wide.unflatten(0, crops.shape[:2])), 2)
    return torch.einsum("ck,bfkyx->bfcyx", crops.new_tensor(_TO_RGB), planes).round_().clamp_(0, 255)


def _table(base: tuple[int, ...], quality: Tensor) -> Tensor:
    """(B, 8, 8): the steps of a table at each quality."""
    q = quality.float()
    scale = torch.where(q < 50, (5000 / q).floor(), 200 - 2 * q)[:, None, None]
    steps = torch.tensor(base, dtype=torch.float32, device=quality.device).view(BLOCK, BLOCK)
    return ((steps * scale + 50) / 100).floor().clamp(1, 255)


def _quantised(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes (B, F, K, h, w) after their cosine coefficients were rounded to multiples of `steps` (B, 8, 8)."""
    shape, basis = planes.shape, _cosines(planes.device)
    blocks = planes.unflatten(4, (-1, BLOCK)).unflatten(3, (-1, BLOCK)).transpose(4, 5)  # (B, F, K, h/8, w/8, 8, 8)
    steps = steps[:, None, None, None, None]
    rounded = (basis @ blocks @ basis.T / steps).round_() * steps
    back = (basis.T @ rounded @ basis).transpose(4, 5).reshape(shape)
    return (back + 128).round_().clamp_(0, 255) - 128


@functools.lru_cache(8)
def _cosines(device: torch.device) -> Tensor:
    """(8, 8) orthonormal cosine transform; row k has frequency k."""
    k, x = torch.arange(BLOCK, dtype=torch.float64)[:, None], torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos((2 * x + 1) * k * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows.float().to(device)
