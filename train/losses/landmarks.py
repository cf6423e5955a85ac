"""Losses of FAN, and the heatmaps that they compare with."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from train.models.config import STRIDE


def to_cells(points: Tensor) -> Tensor:
    """Points in pixels of the crop -> heatmap cells, centres at integers."""
    return (points - 1.5) / STRIDE


def heatmap_targets(points: Tensor, side: int, sigma: float = 1.0) -> Tensor:
    """Gaussians with sub-pixel centres and peak 1.

    Args:
        points: (B, 68, 2) pixels of a crop of side 4 * side; NaN gives an empty plane.
        sigma: in heatmap cells.

    Returns:
        (B, 68, side, side) float32.
    """
    grid = torch.arange(side, dtype=torch.float32, device=points.device)[:, None]
    cells = torch.nan_to_num(to_cells(points.float()), nan=-1e3)[:, None]  # (B, 1, 68, 2)
    columns = torch.exp(-((grid - cells[..., 0]) ** 2) / (2 * sigma**2))  # (B, side, 68)
    rows = torch.exp(-((grid - cells[..., 1]) ** 2) / (2 * sigma**2))
    return (rows[:, :, None] * columns[:, None]).permute(0, 3, 1, 2)  # channels last in memory, as the heatmaps are


def heatmap_loss(heatmaps: Tensor, target: Tensor, weight: Tensor, peak: float = 30.0, sigma: float = 1.0) -> Tensor:
    """Squared error with weight 1 + peak * target, summed over a plane.

    Scaled so that an empty plane where a whole Gaussian is wanted gives 1.

    Args:
        heatmaps, target: (B, 68, h, h).
        weight: (B, 68) of each plane.
    """
    error = (heatmaps.float() - target).square() * (1 + peak * target)
    full = math.pi * sigma**2 * (1 + peak * 2 / 3)
    return (error.sum((2, 3)) * weight).sum() / (full * weight.sum().clamp(min=1e-6))


def coordinate_loss(heatmaps: Tensor, points: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 between the true points and the centroid of the positive values around them, in heatmap cells.

    The window of 5x5 cells stands on the true cell, so the gradient is there before the peak is.
    Points that are NaN or whose cell lies outside the crop count for nothing.

    Args:
        heatmaps: (B, 68, h, h) of the last stack.
        points: (B, 68, 2) pixels of the crop.
        weight: (B, 68).
    """
    side = heatmaps.shape[-1]
    cells = to_cells(points.float())
    inside = (cells.isfinite() & (cells > -0.5) & (cells < side - 0.5)).all(2)
    cells = torch.where(inside[..., None], cells, torch.zeros_like(cells)).transpose(1, 2)  # (B, 2, 68)
    offset = torch.arange(-2, 3, device=points.device)[:, None]
    columns, rows = (cells.round().long()[:, :, None] + offset).unbind(1)  # (B, 5, 68)
    valid = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]  # (B, 5, 5, 68)
    index = rows.clamp(0, side - 1)[:, :, None] * side + columns.clamp(0, side - 1)[:, None]
    flat = heatmaps.permute(0, 2, 3, 1).reshape(len(heatmaps), side * side, -1)  # (B, side * side, 68), no copy
    window = functional.relu(flat.gather(1, index.flatten(1, 2)).float()).view(valid.shape) * valid
    mass = window.sum((1, 2)) + 1e-4  # (B, 68)
    found = torch.stack(((window.sum(1) * columns).sum(1) / mass, (window.sum(2) * rows).sum(1) / mass), 1)
    error = functional.smooth_l1_loss(found, cells, reduction="none", beta=0.5).sum(1)
    weight = weight * inside * (mass > 0.1)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def landmark_loss(
    heatmaps: list[Tensor], points: Tensor, weight: Tensor, coordinate_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """FAN's loss: mean of `heatmap_loss` over the stacks plus weighted `coordinate_loss` of the last."""
    target = heatmap_targets(points, heatmaps[0].shape[-1])
    losses = [heatmap_loss(plane, target, weight) for plane in heatmaps]
    heat = torch.stack(losses).mean()
    coordinates = coordinate_loss(heatmaps[-1], points, weight)
    return heat + coordinate_weight * coordinates, {"heatmap": losses[-1], "coordinates": coordinates}


def point_weights(photo: Tensor, jaw: float = 0.5, jaw_photo: float = 0.2) -> Tensor:
    """Weights (B, 68): the jaw (points 0-16) counts less, least on photographs, where its truth is approximate.

    Args:
        photo: (B,) bool.
    """
    weight = torch.ones(len(photo), 68, device=photo.device)
    weight[:, :17] = torch.where(photo, jaw_photo, jaw)[:, None]
    return weight
