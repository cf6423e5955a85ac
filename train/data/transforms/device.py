"""Crops and augmentation of triplets on the device, in batches: the geometry is that of TripletSet.crops to the draw,
the content of the same distributions (TripletAugment.draw).

`pack` runs where data are prepared and only copies decoded pixels; `unpack` does the rest in plain PyTorch. Values
are rounded to whole grey levels after every step, as 8-bit pictures are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.data.transforms.jpeg import compressed
from train.data.transforms.triplets import MOST_HOLES, WIDEST
from train.data.triplets import TripletSet

_GREY = (0.299, 0.587, 0.114)
_ROUND_TO = 32
"""Sides of packed pixels are multiples of it: few different sizes, so that memory is used again."""


def pack(
    data: TripletSet, rows: Sequence[int], neighbours: bool, draws: Sequence[np.random.Generator] | None
) -> dict[str, Tensor]:
    """Samples of a set for `unpack`.

    Args:
        draws: source of all draws, one for each row; None: no augmentation.

    Returns:
        "pixels" (B, F, S, S, 3) uint8 BGR, zeros beyond what a crop needs; "back" (B, F, 2, 3) float32, crop pixels to
        those; with `draws` also "flip" (B,) bool, "holes" (B, 8, 4), and of the samples "blur_rows" and "jpeg_rows"
        alone "blur" (b, 7) and "quality" (j,); with a colour jitter "factors" and "order" (B, 3).
    """
    sources = [data.sources(i, draws[k] if draws else None, neighbours) for k, i in enumerate(rows)]
    side = max(max(part.shape[:2]) for parts, _, _ in sources for part in parts)
    side = -(-side // _ROUND_TO) * _ROUND_TO
    pixels = np.zeros((len(rows), len(sources[0][0]), side, side, 3), np.uint8)
    for out, (parts, _, _) in zip(pixels, sources, strict=True):
        for place, part in zip(out, parts, strict=True):
            place[: part.shape[0], : part.shape[1]] = part
    batch = {
        "pixels": torch.from_numpy(pixels),
        "back": torch.from_numpy(np.stack([back for _, back, _ in sources]).astype(np.float32)),
    }
    if not draws:
        return batch
    drawn = [data.augment.draw(rng, data.resolution) for rng in draws]
    blurs, qualities = np.stack([one.blur for one in drawn]), np.array([one.quality for one in drawn])
    blur_rows, jpeg_rows = np.flatnonzero(blurs[:, WIDEST // 2] < 1), np.flatnonzero(qualities)
    if data.augment.colour > 0:
        batch["factors"] = torch.from_numpy(np.stack([one.factors for one in drawn]))
        batch["order"] = torch.from_numpy(np.stack([one.order for one in drawn]))
    return {
        **batch,
        "flip": torch.tensor([flip for _, _, flip in sources]),
        "blur_rows": torch.from_numpy(blur_rows),
        "blur": torch.from_numpy(blurs[blur_rows]),
        "jpeg_rows": torch.from_numpy(jpeg_rows),
        "quality": torch.from_numpy(qualities[jpeg_rows]),
        "holes": torch.from_numpy(np.stack([one.holes for one in drawn])),
    }


@torch.no_grad()
def unpack(batch: dict[str, Tensor], resolution: int) -> Tensor:
    """What `pack` gave, on any device -> crops (B, F, R, R, 3) uint8 RGB."""
    crops = _cut(batch["pixels"], batch["back"], resolution)  # (B, F, 3, R, R) RGB
    if "flip" in batch:
        crops = torch.where(batch["flip"][:, None, None, None, None], crops.flip(-1), crops)
        if len(rows := batch["blur_rows"]):  # lengths are known without asking the device
            crops[rows] = _blurred(crops[rows], batch["blur"])
        if "factors" in batch:
            crops = _coloured(crops, batch["factors"], batch["order"])
        if len(rows := batch["jpeg_rows"]):
            crops[rows] = compressed(crops[rows], batch["quality"])
        crops = _with_holes(crops, batch["holes"])
    return crops.to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous()


def _cut(pixels: Tensor, back: Tensor, resolution: int) -> Tensor:
    """Bilinear, zeros outside, as aunet_sdk.geometry.crop.warp_crop: (B, F, 3, R, R) float32 RGB, whole grey levels."""
    batch, frames, side = pixels.shape[:3]
    place = torch.arange(resolution, dtype=torch.float32, device=pixels.device)
    grid = torch.stack((place.expand(resolution, -1), place[:, None].expand(-1, resolution)), -1)  # (R, R, 2): x, y
    matrix = back.flatten(0, 1)
    source = torch.einsum("rcj,nij->nrci", grid, matrix[..., :2]) + matrix[:, None, None, :, 2]
    images = pixels.flatten(0, 1).permute(0, 3, 1, 2).flip(1).float()
    crops = functional.grid_sample(images, source * (2 / max(side - 1, 1)) - 1, "bilinear", "zeros", align_corners=True)
    return crops.add_(0.5).floor_().clamp_(0, 255).unflatten(0, (batch, frames))


def _blurred(crops: Tensor, kernels: Tensor) -> Tensor:
    """Rows, then columns, with the weights (B, WIDEST) of each sample; the picture goes on as its mirror image."""
    batch, frames, side = *crops.shape[:2], crops.shape[-1]
    weight = kernels.to(crops.dtype)[:, None, None, None, None]  # (B, 1, 1, 1, 1, WIDEST)
    reach = WIDEST // 2
    wide = functional.pad(crops.flatten(0, 1), (reach,) * 4, mode="reflect").unflatten(0, (batch, frames))
    along = sum(weight[..., k] * wide[..., k : k + side] for k in range(WIDEST))
    blurred = sum(weight[..., k] * along[..., k : k + side, :] for k in range(WIDEST))
    return torch.as_tensor(blurred).round_()


def _coloured(crops: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast and saturation by `factors` (B, 3), in the `order` (B, 3) of each sample."""
    weight = crops.new_tensor(_GREY)[:, None, None]
    for step in range(3):
        which = order[:, step, None, None, None, None]
        factor = factors.gather(1, order[:, step : step + 1])[:, :, None, None, None]
        grey = (crops * weight).sum(2, keepdim=True)
        middle = torch.where(which == 0, 0.0, torch.where(which == 1, grey.mean((3, 4), keepdim=True), grey))
        crops = (middle + (crops - middle) * factor).clamp_(0, 255).round_()
    return crops


def _with_holes(crops: Tensor, holes: Tensor) -> Tensor:
    """Black where a hole (B, MOST_HOLES, 4) of the sample is."""
    place = torch.arange(crops.shape[-1], device=crops.device)
    x0, y0, x1, y1 = (holes[..., k, None] for k in range(4))
    across, down = (place >= x0) & (place < x1), (place >= y0) & (place < y1)  # (B, MOST_HOLES, R)
    hit = torch.stack([down[:, k, :, None] & across[:, k, None, :] for k in range(MOST_HOLES)]).any(0)
    return crops.masked_fill(hit[:, None, None], 0.0)
