"""Measures: landmark error, F1, area under the ROC curve, thresholds. NumPy in, NumPy out."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.models.config import STRIDE

INNER = slice(17, 68)
"""The 51 points without the jaw."""

Floats = NDArray[np.float32] | NDArray[np.float64]


def decode(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps -> points, as the runtime decodes them (docs/architecture.md, `heatmap.decode`).

    Args:
        heatmaps: (B, 68, h, h), raw.

    Returns:
        points (B, 68, 2) float32 in pixels of the crop: centroid of the positive values in the 5x5 window around the
        peak, clipped at the border; confidence (B, 68) float32: the peak, clipped to [0, 1].
    """
    batch, planes, h, w = heatmaps.shape
    heat = heatmaps.float()
    peak, index = heat.flatten(2).max(2)
    row, column = index // w, index % w
    offset = torch.arange(-2, 3, device=heat.device)
    rows, columns = row[..., None] + offset, column[..., None] + offset  # (B, 68, 5)
    valid = ((rows >= 0) & (rows < h))[..., :, None] & ((columns >= 0) & (columns < w))[..., None, :]
    flat = rows.clamp(0, h - 1)[..., :, None] * w + columns.clamp(0, w - 1)[..., None, :]
    window = heat.flatten(2).gather(2, flat.flatten(2)).view(batch, planes, 5, 5).clamp(min=0) * valid
    mass = window.sum((2, 3))
    dx = (window.sum(2) * offset).sum(2) / mass.clamp(min=1e-12)
    dy = (window.sum(3) * offset).sum(2) / mass.clamp(min=1e-12)
    points = torch.stack((column + dx, row + dy), 2) * STRIDE + 1.5
    return points, peak.clamp(0.0, 1.0)


def landmark_errors(predicted: Floats, points: Floats, which: slice = INNER) -> NDArray[np.float64]:
    """Mean distance over the distance of the outer eye corners (36 and 45), per frame.

    Args:
        predicted, points: (B, 68, 2) in the same units.

    Returns:
        (B,); NaN where the true points are.
    """
    unit = np.linalg.norm(points[:, 45] - points[:, 36], axis=1)
    distance = np.linalg.norm(predicted[:, which] - points[:, which], axis=2).mean(1)
    return np.asarray(distance / unit, np.float64)


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve; labels 0, 1 or NaN (left out). NaN where one class is absent, or a score
    is not finite."""
    from sklearn.metrics import roc_auc_score

    known = ~np.isnan(labels)
    scores, positive = scores[known], labels[known] > 0.5
    if positive.all() or not positive.any() or not np.isfinite(scores).all():
        return float("nan")
    return float(roc_auc_score(positive, scores))


def f1(active: NDArray[np.bool_], labels: Floats) -> NDArray[np.float64]:
    """F1 (equation 5) of decisions against labels: twice the hits over all that are active or labelled.

    Args:
        active: (N, ...) bool.
        labels: (N, ...) 0, 1 or NaN (left out); of the shape of `active`, or one that broadcasts with it.

    Returns:
        (...) float64, over the first axis; NaN where no label is 1.
    """
    known, positive = ~np.isnan(labels), labels > 0.5
    hits = (active & positive).sum(0)
    both = (active & known).sum(0) + positive.sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(positive.any(0), 2 * hits / both, np.nan), np.float64)


def per_au(probabilities: Floats, labels: Floats, thresholds: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """F1 at 0.5 and at the thresholds, AUC, positives and known labels per AU.

    Args:
        probabilities: (B, n), NaN in the column of an AU that is not predicted: its measures are NaN.
        labels: (B, n).  thresholds: (n,).
    """
    columns = range(labels.shape[1])
    said = np.atleast_1d(~np.isnan(probabilities).all(0))

    def decided(i: int, threshold: float) -> float:
        return float(f1(probabilities[:, i] >= threshold, labels[:, i])) if said[i] else float("nan")

    return {
        "f1": np.array([decided(i, 0.5) for i in columns]),
        "f1_calibrated": np.array([decided(i, thresholds[i]) for i in columns]),
        "auc": np.array([auc(probabilities[:, i], labels[:, i]) for i in columns]),
        "positives": np.nansum(labels, 0).astype(np.float64),
        "known": (~np.isnan(labels)).sum(0).astype(np.float64),
    }


def best_threshold(probabilities: Floats, labels: Floats, low: float = 0.2, high: float = 0.8) -> float:
    """Threshold in [low, high] with the largest F1; the middle of the best stretch; 0.5 where no label is 1."""
    if not (labels > 0.5).any():
        return 0.5
    grid = np.linspace(low, high, 61)
    scores = f1(probabilities[:, None] >= grid, labels[:, None])
    return round(float(np.median(grid[scores >= scores.max() - 1e-12])), 4)


def nanmean(values: Floats) -> float:
    """Mean of what is not NaN; NaN, without a warning, where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if np.size(values) else float("nan")
