"""How a face looks in its picture: bright or dark, sharp or blurred, and how much redder its lips are than the skin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import InvalidInput

__all__ = ["Appearance", "AppearanceReader", "eyes_px"]

EYES_PX = 32.0
"""Larger faces are reduced to this distance of the eyes before their sharpness is looked at."""
LIPS_EYES_PX = 48.0
"""The same for the colour of the lips, by a whole factor: to this distance times 0.75 to 1.5."""
MOST_PX = 8192
"""of a reduced part of a face: one that still covers more is reduced further"""
SKIN_EYES_PX = 64.0
"""The skin that the lips are compared with begins and ends at whole pixels of a face of this size, or of a smaller one:
the limit of the tint was found so."""
MOST_STEP = 8
"""px between lips and skin: more only where a large face is cut off so that hardly anything of its mouth is left"""
FAR_PX = 16384
LEAST_CHROMA = 1.5
"""Lips and skin that both differ from grey by less, in a* and b*, are those of a picture without colour."""


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

    After a run of the network nothing of the picture and of OpenCV is left in the processor's caches, so that a call
    costs several times what it takes in a loop: few calls matter more than few pixels.

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

        (brows_x, brows_y), (eyes_x, eyes_y) = _plain(landmarks[17:27]), _plain(landmarks[36:48])
        found = _patch(image, brows_x + eyes_x, brows_y + eyes_y)
        if found is None:
            return None
        small = self._reduced(found[0], EYES_PX / max(eyes_px(landmarks), 1e-6))
        shape, area = small.shape[:2], small.shape[0] * small.shape[1]
        grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY, dst=_as(self._grey, shape))
        sharp, soft = _as(self._sharp, shape), _as(self._soft, shape)
        np.copyto(sharp, grey)
        cv2.GaussianBlur(sharp, (0, 0), 1.0, dst=soft)
        fine = cv2.norm(sharp, soft, cv2.NORM_L1) / area
        mean, deviation = cv2.meanStdDev(sharp)
        bright = np.count_nonzero(np.greater_equal(grey, 250, out=_as(self._mouth, shape).view(np.bool_)))
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

        (lips_x, lips_y), eyes = _plain(landmarks[48:68]), eyes_px(landmarks)
        margin = 0.25 * max(max(lips_x) - min(lips_x), max(lips_y) - min(lips_y))
        found = _patch(image, lips_x, lips_y, margin)
        if found is None or not math.isfinite(eyes):
            return None
        patch, x0, y0 = found
        small, factor = self._reduced_by_whole(patch, max(1, round(eyes / LIPS_EYES_PX)))
        shape = small.shape[:2]
        near, mouth, gap, skin = (_as(each, shape) for each in (self._grey, self._mouth, self._gap, self._skin))
        lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB, dst=small)
        places = zip(lips_x, lips_y, strict=True)
        outline = np.array([(_cell(a - x0, factor), _cell(b - y0, factor)) for a, b in places], np.int32)
        mouth[:] = gap[:] = 0
        cv2.fillPoly(mouth, [outline[:12]], 1)
        cv2.fillPoly(gap, [outline[12:]], 1)
        whole = min(eyes, SKIN_EYES_PX)
        step = max(1, round(0.05 * whole)) * eyes / factor / max(whole, 1e-6)
        cv2.dilate(mouth, _square(min(max(1, round(step)), MOST_STEP)), dst=near)
        cv2.dilate(mouth, _square(min(max(3, round(3 * step)), 3 * MOST_STEP)), dst=skin)
        cv2.subtract(skin, near, dst=skin)
        cv2.subtract(mouth, gap, dst=mouth)
        if not cv2.countNonZero(skin) or not cv2.countNonZero(mouth):
            return None
        colours = cv2.mean(lab, mouth), cv2.mean(lab, skin)
        if all(math.hypot(a - 128, b - 128) < LEAST_CHROMA for _, a, b, _ in colours):
            return None  # a camera at night gives grey pictures with three equal channels
        return float(colours[0][1] - colours[1][1])

    def _reduced(self, patch: np.ndarray, scale: float) -> np.ndarray:
        """The patch, (h, w) or (h, w, 3), in a kept array at `scale` or less, 1 at most; no side is below 4 px."""
        import cv2

        scale = min(1.0, scale, math.sqrt(MOST_PX / (patch.shape[0] * patch.shape[1])))
        height = min(max(4, round(patch.shape[0] * scale)), MOST_PX // 4)
        width = min(max(4, round(patch.shape[1] * scale)), MOST_PX // height)
        small = _as(self._grey if patch.ndim == 2 else self._bgr, (height, width, *patch.shape[2:]))
        cv2.resize(patch, (width, height), dst=small, interpolation=cv2.INTER_AREA)
        return small

    def _reduced_by_whole(self, patch: np.ndarray, factor: int) -> tuple[np.ndarray, int]:
        """The patch (h, w, 3) in a kept array, reduced by the whole factor or a larger one, and that; what is left of
        rows and columns at its end is cut off. No side is below 1 px."""
        import cv2

        height, width = patch.shape[:2]
        factor = min(factor, height, width)
        while (height // factor) * (width // factor) > MOST_PX:
            factor += 1
        rows, columns = max(1, height // factor), max(1, width // factor)
        small = _as(self._bgr, (rows, columns, 3))
        part = patch[: rows * factor, : columns * factor]
        if factor == 1:
            np.copyto(small, part)
        else:
            cv2.resize(part, (columns, rows), dst=small, interpolation=cv2.INTER_AREA)
        return small, factor


def _as(kept: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return kept[: math.prod(shape)].reshape(shape)


def _cell(value: float, factor: int) -> int:
    """The reduced pixel in which a pixel lies, within what OpenCV draws."""
    return max(-FAR_PX, min(FAR_PX, math.floor((value + 0.5) / factor)))


@lru_cache(maxsize=2 * MOST_STEP)
def _square(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _plain(points: np.ndarray) -> tuple[list[float], list[float]]:
    """x and y of points (N, 2) as plain numbers: for so few of them NumPy's calls take longer than Python."""
    x, y = points.T.tolist()
    return x, y


def eyes_px(landmarks: np.ndarray) -> float:
    """Distance of the eyes' centres of landmarks (68, 2), in their own unit."""
    x, y = _plain(landmarks[36:48])
    return math.hypot(sum(x[6:]) - sum(x[:6]), sum(y[6:]) - sum(y[:6])) / 6


def _patch(
    image: np.ndarray, x: Sequence[float], y: Sequence[float], margin: float = 0.0
) -> tuple[np.ndarray, int, int] | None:
    """The part of the image that bounds these points with a margin, px, and x and y of its first pixel. None below
    4x4 px."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InvalidInput(f"image: expected uint8 (H, W, 3) BGR or (H, W), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    if not math.isfinite(sum(x) + sum(y) + margin):
        return None
    x0, y0 = max(math.floor(min(x) - margin), 0), max(math.floor(min(y) - margin), 0)
    x1, y1 = min(math.ceil(max(x) + margin) + 1, width), min(math.ceil(max(y) + margin) + 1, height)
    if min(x1 - x0, y1 - y0) < 4:
        return None
    return image[y0:y1, x0:x1], x0, y0
