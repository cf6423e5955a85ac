"""How a face looks in its picture: bright or dark, sharp or blurred, and how much redder its lips are than the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput

__all__ = ["Appearance", "appearance_of", "eyes_px", "lip_tint"]

EYES_PX = 32.0
"""Larger faces are reduced to this distance of the eyes before they are looked at."""

_UPPER = [*range(17, 27), *range(36, 48)]
"""iBUG numbers of brows and eyes"""


@dataclass(frozen=True)
class Appearance:
    """Of the part of brows and eyes that is within the frame: what covers the mouth does not count."""

    brightness: float
    """mean grey level, 0 to 255"""
    bright_share: float
    """share of pixels at 250 or more, 0 to 1"""
    sharpness: float
    """how much of the contrast is finer than about a sixteenth of the distance of the eyes, 0 to 1"""


def appearance_of(image: np.ndarray, landmarks: np.ndarray) -> Appearance | None:
    """What the face with these landmarks (68, 2) looks like in the frame `image`, uint8 (H, W, 3) BGR or (H, W) grey.

    None where less than 4x4 px of it is within the frame.
    Raises InvalidInput for another image.
    """
    import cv2

    points = np.asarray(landmarks, np.float64)
    found = _patch(image, points[_UPPER])
    if found is None:
        return None
    patch, _ = found
    grey = patch if patch.ndim == 2 else cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
    bright_share = cv2.countNonZero(cv2.inRange(grey, 250, 255)) / grey.size
    grey = _reduced(grey, min(1.0, EYES_PX / max(eyes_px(points), 1e-6))).astype(np.float32)
    fine = cv2.mean(cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), 1.0)))[0]
    mean, deviation = cv2.meanStdDev(grey)
    return Appearance(float(mean[0, 0]), bright_share, float(fine / (deviation[0, 0] + 1.0)))


def lip_tint(image: np.ndarray, landmarks: np.ndarray) -> float | None:
    """By how much the lips are redder than the skin around them: the difference of a* of CIE L*a*b*.

    It is 1 to 5 where a mouth is seen, whatever the colour of the skin, and near or below 0 over a hand, a mask or
    anything else of one colour. None for a grey picture, and where less than 4x4 px of the mouth is within the frame.
    """
    if image.ndim != 3:
        return None
    import cv2

    points = np.asarray(landmarks, np.float64)
    lips = points[48:68]
    margin = 0.25 * (lips.max(0) - lips.min(0)).max()
    found = _patch(image, np.concatenate([lips - margin, lips + margin]))
    if found is None:
        return None
    patch, origin = found
    scale = min(1.0, 2 * EYES_PX / max(eyes_px(points), 1e-6))
    small = _reduced(patch, scale)
    place = (lips - origin) * (np.array(small.shape[1::-1]) / patch.shape[1::-1])
    mouth, gap = np.zeros(small.shape[:2], np.uint8), np.zeros(small.shape[:2], np.uint8)
    cv2.fillPoly(mouth, [np.round(place[:12]).astype(np.int32)], 1)
    cv2.fillPoly(gap, [np.round(place[12:]).astype(np.int32)], 1)
    step = max(1, round(0.05 * eyes_px(points) * scale))
    near, far = (cv2.dilate(mouth, np.ones((2 * k + 1, 2 * k + 1), np.uint8)) for k in (step, 3 * step))
    red = cv2.cvtColor(small, cv2.COLOR_BGR2LAB)[..., 1].astype(np.float32)
    skin, lip = (far == 1) & (near == 0), (mouth == 1) & (gap == 0)
    if not skin.any() or not lip.any() or not _has_colour(small):
        return None
    return float(red[lip].mean() - red[skin].mean())


def _has_colour(patch: np.ndarray) -> bool:
    """Whether the channels differ: a camera at night gives grey pictures with three equal ones."""
    spread = patch.max(2).astype(np.int16) - patch.min(2)
    return bool(spread.mean() >= 3)


def eyes_px(points: np.ndarray) -> float:
    """Distance of the eyes' centres of landmarks (68, 2), in their own unit."""
    right, left = np.add.reduce(points[36:48].reshape(2, 6, 2), axis=1).tolist()
    return math.dist(right, left) / 6


def _patch(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The part of the image that bounds these points, and its first pixel (x, y). None below 4x4 px."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InvalidInput(f"image: expected uint8 (H, W, 3) BGR or (H, W), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    low, high = np.minimum.reduce(points).tolist(), np.maximum.reduce(points).tolist()
    if not all(map(math.isfinite, (*low, *high))):
        return None
    x0, y0 = max(math.floor(low[0]), 0), max(math.floor(low[1]), 0)
    x1, y1 = min(math.ceil(high[0]) + 1, width), min(math.ceil(high[1]) + 1, height)
    if min(x1 - x0, y1 - y0) < 4:
        return None
    return image[y0:y1, x0:x1], np.array([x0, y0])


def _reduced(patch: np.ndarray, scale: float) -> np.ndarray:
    """The patch at `scale`, 1 at most, and no side below 4 px."""
    import cv2

    if scale >= 1:
        return patch
    size = (max(4, round(patch.shape[1] * scale)), max(4, round(patch.shape[0] * scale)))
    smaller: np.ndarray = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    return smaller
