"""How a face looks in its picture: bright or dark, sharp or blurred, and how much redder its lips are than the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput

__all__ = ["Appearance", "AppearanceReader", "eyes_px"]

EYES_PX = 32.0
"""Larger faces are reduced to this distance of the eyes before they are looked at."""
MOST_PX = 8192
"""of a reduced part of a face: one that still covers more is reduced further"""

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


class AppearanceReader:
    """Looks at faces, one at a time, in arrays that it keeps: 128 KiB, and none anew per face.

    One object serves one thread.
    """

    def __init__(self) -> None:
        self._bgr = np.empty(3 * MOST_PX, np.uint8)
        self._grey, self._mouth, self._gap, self._skin = np.empty((4, MOST_PX), np.uint8)
        self._sharp, self._soft = np.empty((2, MOST_PX), np.float32)

    def read(self, image: np.ndarray, landmarks: np.ndarray) -> Appearance | None:
        """What the face with these landmarks (68, 2) looks like in the frame `image`, uint8 (H, W, 3) BGR or (H, W).

        None where less than 4x4 px of it is within the frame.
        Raises InvalidInput for another image.
        """
        import cv2

        points = np.asarray(landmarks, np.float64)
        found = _patch(image, points[_UPPER])
        if found is None:
            return None
        small = self._reduced(found[0], EYES_PX / max(eyes_px(points), 1e-6))
        shape, area = small.shape[:2], small.shape[0] * small.shape[1]
        grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY, dst=_as(self._grey, shape))
        sharp, soft = _as(self._sharp, shape), _as(self._soft, shape)
        np.copyto(sharp, grey)
        cv2.GaussianBlur(sharp, (0, 0), 1.0, dst=soft)
        fine = cv2.mean(cv2.absdiff(sharp, soft, dst=soft))[0]
        mean, deviation = cv2.meanStdDev(sharp)
        bright = cv2.countNonZero(cv2.inRange(grey, 250, 255, dst=_as(self._mouth, shape)))
        return Appearance(float(mean[0, 0]), bright / area, float(fine / (deviation[0, 0] + 1.0)))

    def lip_tint(self, image: np.ndarray, landmarks: np.ndarray) -> float | None:
        """By how much the lips are redder than the skin around them: the difference of a* of CIE L*a*b*.

        It is 1 to 5 where a mouth is seen, whatever the colour of the skin, and near or below 0 over a hand, a mask or
        anything else of one colour. `image` and `landmarks` are as in `read`. None for a grey picture, and where less
        than 4x4 px of the mouth is within the frame.
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
        small = self._reduced(patch, 2 * EYES_PX / max(eyes_px(points), 1e-6))
        shape = small.shape[:2]
        grey, mouth, gap, skin = (_as(each, shape) for each in (self._grey, self._mouth, self._gap, self._skin))
        if not _has_colour(small, mouth, gap):
            return None
        lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB, dst=small)
        scale = np.array(shape[::-1]) / patch.shape[1::-1]
        place = np.round((lips - origin) * scale).astype(np.int32)
        for mask, outline in ((mouth, place[:12]), (gap, place[12:])):
            mask[:] = 0
            cv2.fillPoly(mask, [outline], 1)
        step = max(1, round(0.05 * eyes_px(points) * float(scale[0])))
        near, far = (np.ones((2 * k + 1, 2 * k + 1), np.uint8) for k in (step, 3 * step))
        cv2.subtract(cv2.dilate(mouth, far, dst=skin), cv2.dilate(mouth, near, dst=grey), dst=skin)
        cv2.subtract(mouth, gap, dst=mouth)
        if not cv2.countNonZero(skin) or not cv2.countNonZero(mouth):
            return None
        return float(cv2.mean(lab, mouth)[1] - cv2.mean(lab, skin)[1])

    def _reduced(self, patch: np.ndarray, scale: float) -> np.ndarray:
        """The patch, (h, w) or (h, w, 3), in a kept array at `scale` or less, 1 at most; no side is below 4 px."""
        import cv2

        scale = min(1.0, scale, math.sqrt(MOST_PX / (patch.shape[0] * patch.shape[1])))
        height = min(max(4, round(patch.shape[0] * scale)), MOST_PX // 4)
        width = min(max(4, round(patch.shape[1] * scale)), MOST_PX // height)
        small = _as(self._grey if patch.ndim == 2 else self._bgr, (height, width, *patch.shape[2:]))
        cv2.resize(patch, (width, height), dst=small, interpolation=cv2.INTER_AREA)
        return small


def _as(kept: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return kept[: math.prod(shape)].reshape(shape)


def _has_colour(patch: np.ndarray, most: np.ndarray, least: np.ndarray) -> bool:
    """Whether the channels differ: a camera at night gives grey pictures with three equal ones. `most` and `least`,
    (h, w) uint8, are written to."""
    import cv2

    blue, green, red = patch[..., 0], patch[..., 1], patch[..., 2]
    np.maximum(np.maximum(blue, green, out=most), red, out=most)
    np.minimum(np.minimum(blue, green, out=least), red, out=least)
    return bool(cv2.mean(cv2.subtract(most, least, dst=most))[0] >= 3)


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
