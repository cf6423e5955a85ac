"""Lids of a photograph that come down: the skin above the eye is stretched over it, and lashes are drawn at its edge.

There are hardly any pictures of people with shut eyes, since those are not kept. A network that sees shut eyes on
renders alone learns that real skin never blinks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.synthetic.choreography import DROWSY, SHUT

LEAST_EYE_PX = 6.0
"""Eyes narrower than this are left alone."""
ABOVE = 0.32
"""Skin that is stretched, above the eye, in widths of the eye."""


def shut(
    image: NDArray[np.uint8], points: NDArray[np.floating], closed: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A copy of a picture with both eyes shut by `closed`.

    Args:
        image: (h, w, 3) uint8.
        points: (68, 2) px.
        closed: 0, as they are, to 1, shut.
        rng: how dark and how thick the lashes are, and how far down the upper lid comes to the lower one.
    """
    shade, thick, least = rng.uniform(0.25, 0.75), rng.uniform(0.025, 0.05), rng.uniform(0.75, 1.0)
    for first in (36, 42):
        image = _one(image, np.asarray(points[first : first + 6], np.float64), closed, shade, thick, least)
    return image


def _one(
    image: NDArray[np.uint8], eye: NDArray[np.float64], closed: float, shade: float, thick: float, least: float
) -> NDArray[np.uint8]:
    """One eye (6, 2): all lengths in its width, x from corner to corner, y down across it."""
    corner, along = eye[0], eye[3] - eye[0]
    width = float(np.hypot(*along))
    if width < LEAST_EYE_PX:
        return image
    along = along / width
    across = np.array([-along[1], along[0]])
    own = np.stack(((eye - corner) @ along, (eye - corner) @ across), 1) / width
    columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in image.shape[1::-1]))
    columns, rows = (columns - corner[0]) / width, (rows - corner[1]) / width
    x, y = columns * along[0] + rows * along[1], columns * across[0] + rows * across[1]

    at = np.clip(x, -0.05, 1.05)
    upper, lower = (_edge(own[list(edge)], at) for edge in ((0, 1, 2, 3), (0, 5, 4, 3)))
    lower, upper = np.maximum(lower, upper + 0.02), upper - 0.03
    edge = upper + (lower - upper) * (least if closed > 0.8 else 1.0) * closed
    top = upper - ABOVE
    stretched = top + (y - top) * (ABOVE - 0.02) / np.maximum(edge - top, 1e-3)
    beside = np.clip(np.minimum(x + 0.15, 1.15 - x) / 0.15, 0, 1)
    source = y + np.where((y > top) & (y < edge), stretched - y, 0) * beside
    place = corner + width * (x[..., None] * along + source[..., None] * across)
    moved = cv2.remap(
        image, place[..., 0].astype(np.float32), place[..., 1].astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    inside = np.clip(np.minimum(x + 0.03, 1.03 - x) / 0.1, 0, 1)
    lashes = shade * min(1.0, 2 * closed) * inside * np.exp(-0.5 * ((y - edge) / thick) ** 2)
    dark: NDArray[np.uint8] = (moved * (1 - lashes[..., None])).astype(np.uint8)
    return dark


def _edge(points: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a lid: the parabola through its points (4, 2), at x (...)."""
    a, b, c = np.polyfit(points[:, 0], points[:, 1], 2).tolist()
    edge: NDArray[np.float64] = (a * at + b) * at + c
    return edge


def course(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(frames,) how far the lids are down, 0 to 1: shut throughout, drowsy, or a blink on a frame or two."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full(frames, rng.uniform(0.85, 1.0))
    if kind == 1:
        return np.full(frames, rng.uniform(0.05, 0.5))
    return np.where(np.isin(np.arange(frames), rng.integers(frames, size=2)), rng.uniform(0.2, 1) ** 0.5, 0.0)


def intensity_of(closed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of AU45, as in renders (train.synthetic.choreography)."""
    return np.clip((closed - DROWSY) / (SHUT - DROWSY), 0, 1)


__all__ = ["course", "intensity_of", "shut"]
