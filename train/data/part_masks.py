"""Which part of the face a cell of the heatmaps shows, drawn from 68 points (train.models.parser.PARTS).

On renders the points are projected vertices of the mesh, so that what they enclose is the part as it was rendered, but
for what a hand or glasses cover. The forehead ends above the brows: the points know no hairline.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from train.models.config import STRIDE
from train.models.parser import PARTS

_AREAS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("nose", (27, 31, 32, 33, 34, 35)),
    ("right eye", tuple(range(36, 42))),
    ("left eye", tuple(range(42, 48))),
    ("upper lip", (*range(48, 55), *range(64, 59, -1))),
    ("lower lip", (*range(54, 60), 48, 60, *range(67, 63, -1))),
    ("mouth", tuple(range(60, 68))),
)
"""Outlines, in the order in which they are drawn; point 0 is at the right ear."""
_BROWS = (("right brow", slice(17, 22)), ("left brow", slice(22, 27)))
_FOREHEAD = 0.45
"""Height of the forehead above the brows, in distances of the eyes."""
_BROW = 0.11
"""Thickness of a brow, in distances of the eyes."""
_PARTED = 0.03
"""Least gap of lips that are apart, in distances of the eyes: a line is drawn as wide as a pixel however thin it is."""
_SHIFT = 4
"""Binary digits after the point in OpenCV's coordinates."""


def part_masks(points: NDArray[np.floating], side: int) -> NDArray[np.uint8]:
    """Points (B, 68, 2) px of crops of side 4 * `side` -> (B, side, side) uint8, index of PARTS; all background where a
    point is NaN."""
    masks = np.zeros((len(points), side, side), np.uint8)
    for mask, one in zip(masks, points, strict=True):
        if np.isfinite(one).all():
            whole = np.zeros((side * STRIDE, side * STRIDE), np.uint8)
            _draw(whole, np.asarray(one, np.float64))
            mask[:] = whole[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return masks


def _draw(mask: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    """Draw one face over a mask of the crop's pixels, with points (68, 2) px."""
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    unit = float(np.linalg.norm(left - right))
    up = np.array([left[1] - right[1], right[0] - left[0]])  # at a right angle to the eyes, as long as their distance
    _fill(
        mask, cv2.convexHull(np.concatenate((points[:27], points[17:27] + _FOREHEAD * up)).astype(np.float32))[:, 0], 1
    )
    for name, brow in _BROWS:
        thickness = max(1, round(_BROW * unit))
        cv2.polylines(mask, [_fixed(points[brow])], False, PARTS.index(name), thickness, cv2.LINE_8, _SHIFT)
    for name, outline in _AREAS:
        if name == "mouth" and _gap(points) < _PARTED * unit:
            continue
        _fill(mask, points[list(outline)], PARTS.index(name))


def _gap(points: NDArray[np.float64]) -> float:
    """Mean height of what opens between the lips, px."""
    return float(np.linalg.norm(points[61:64] - points[67:64:-1], axis=1).mean())


def _fill(mask: NDArray[np.uint8], outline: NDArray[Any], part: int) -> None:
    cv2.fillPoly(mask, [_fixed(outline)], part, cv2.LINE_8, _SHIFT)


def _fixed(points: NDArray[Any]) -> NDArray[np.int32]:
    return np.round(np.clip(points, -1e4, 1e4) * (1 << _SHIFT)).astype(np.int32)
