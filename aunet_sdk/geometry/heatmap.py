"""From the network's heatmaps to points in the crop.

FAN (paper section III-A) gives one heatmap per point, a quarter of the crop's side. `decode` runs the compiled kernel
(csrc/heatmap.pyx) where it is built, else `decode_reference`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..errors import InvalidInput

__all__ = ["CELL_PX", "NATIVE", "decode", "decode_reference", "pooled_points"]

_kernel = _native.load("heatmap")

NATIVE: bool = _kernel is not None
"""Whether the compiled kernel runs."""

CELL_PX = 4
"""Side of a heatmap cell in crop pixels; the cell (i, j) has its centre at the crop pixel (4 j + 1.5, 4 i + 1.5)."""

Decoded = tuple[NDArray[np.float32], NDArray[np.float32]]


def _check(heatmaps: Any, out: Decoded | None) -> Decoded:
    if not isinstance(heatmaps, np.ndarray) or heatmaps.dtype != np.float32 or heatmaps.ndim != 4:
        got = f"{heatmaps.dtype} {heatmaps.shape}" if isinstance(heatmaps, np.ndarray) else type(heatmaps).__name__
        raise InvalidInput(f"heatmaps: expected float32 (B, 68, h, w), got {got}")
    batch, count, height, width = heatmaps.shape
    if height == 0 or width == 0:
        raise InvalidInput(f"heatmaps: expected at least one cell, got {heatmaps.shape}")
    if out is None:
        return np.empty((batch, count, 2), np.float32), np.empty((batch, count), np.float32)
    for array, shape in zip(out, ((batch, count, 2), (batch, count)), strict=True):
        if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise InvalidInput(f"out: expected contiguous float32 {shape}, got {array.dtype} {array.shape}")
    return out


def decode(heatmaps: NDArray[np.float32], out: Decoded | None = None) -> Decoded:
    """Points with sub-pixel precision and their confidence.

    A point is the centroid of the positive values in the 5 x 5 window around the first maximum, the window clipped at
    the border; without a positive value it is the maximum's cell. NaN counts as minus infinity.

    Args:
        heatmaps: float32 (B, 68, h, w), raw (about 0 .. 1).
        out: arrays to fill instead of new ones: float32 (B, 68, 2) and (B, 68).

    Returns:
        points float32 (B, 68, 2), pixels of a crop of side 4 h, and confidence float32 (B, 68): the maximum, clipped to
        [0, 1].

    Raises:
        InvalidInput: wrong shape or dtype.
    """
    if _kernel is None:
        return decode_reference(heatmaps, out)
    points, confidence = _check(heatmaps, out)
    _kernel.decode(np.ascontiguousarray(heatmaps), points, confidence)
    return points, confidence


def decode_reference(heatmaps: NDArray[np.float32], out: Decoded | None = None) -> Decoded:
    """`decode` in NumPy: what the kernel is held to."""
    points, confidence = _check(heatmaps, out)
    height, width = heatmaps.shape[2:]
    limit = float(np.finfo(np.float32).max)
    clean = np.nan_to_num(heatmaps.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    flat = clean.reshape(*clean.shape[:2], height * width)
    at = flat.argmax(axis=2)
    confidence[...] = np.clip(np.take_along_axis(flat, at[..., None], axis=2)[..., 0], 0.0, 1.0)
    weights = np.clip(np.pad(clean, ((0, 0), (0, 0), (2, 2), (2, 2))), 0.0, limit)
    row, column = at // width, at % width
    window = np.arange(-2, 3)
    batch, count = np.ogrid[: clean.shape[0], : clean.shape[1]]
    near = weights[
        batch[..., None, None],
        count[..., None, None],
        row[..., None, None] + 2 + window[:, None],
        column[..., None, None] + 2 + window,
    ]
    total = near.sum(axis=(2, 3))
    total[total == 0] = 1.0
    points[..., 0] = CELL_PX * (column + (near * window).sum(axis=(2, 3)) / total) + 1.5
    points[..., 1] = CELL_PX * (row + (near * window[:, None]).sum(axis=(2, 3)) / total) + 1.5
    return points, confidence


def pooled_points(heatmaps: NDArray[np.float32], scratch: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Points as the head "points" sees them: the centroid of all that lies above a quarter of the maximum, squared
    (`train.models.points_head.PointsHead`). Other than `decode` it knows no window, so that a reference for that head
    has to be taken from here.

    Args:
        heatmaps: float32 (68, h, w) of one face, raw.
        scratch: float32 (68, h, w) that is written over, so that none is allocated.

    Returns:
        float32 (68, 2): x, y in cells.
    """
    import cv2

    height, width = heatmaps.shape[1:]
    flat = heatmaps.reshape(-1, height * width)
    mask = np.empty(flat.shape, np.float32) if scratch is None else scratch.reshape(flat.shape)
    floors = 0.25 * np.maximum.reduce(flat, axis=1).clip(min=0.0)
    np.copyto(mask, floors[:, None])  # which takes no memory, while a subtraction that broadcasts takes 32 KiB
    np.subtract(flat, mask, out=mask)
    cv2.threshold(mask, 0.0, 0.0, cv2.THRESH_TOZERO, dst=mask)  # a fifth of the time of np.maximum with a number
    np.multiply(mask, mask, out=mask)
    x, y, total = (mask @ _cells(height, width)).T
    total += 1e-6
    found = np.empty((len(mask), 2), np.float32)
    np.divide(x, total, out=found[:, 0])
    np.divide(y, total, out=found[:, 1])
    return found


@lru_cache(maxsize=8)
def _cells(height: int, width: int) -> NDArray[np.float32]:
    """(height * width, 3): x, y and 1 of every cell."""
    y, x = np.mgrid[:height, :width]
    return np.stack((x, y, np.ones_like(x)), 2).reshape(-1, 3).astype(np.float32)
