"""How a face looks in its picture: bright or dark, sharp or blurred; measured at one size for all faces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput

__all__ = ["Appearance", "appearance_of"]

EYES_PX = 32.0
"""Larger faces are reduced to this distance of the eyes before they are looked at."""


@dataclass(frozen=True)
class Appearance:
    """Of the part of the face that is within the frame."""

    brightness: float
    """mean grey level, 0 to 255"""
    bright_share: float
    """share of pixels at 250 or more, 0 to 1"""
    sharpness: float
    """how much of the contrast is finer than about a sixteenth of the distance of the eyes, 0 to 1"""


def appearance_of(image: np.ndarray, landmarks: np.ndarray) -> Appearance | None:
    """What the face with these landmarks (68, 2) looks like in the frame `image`, uint8 (H, W, 3) BGR or (H, W) grey.

    None where less than 4x4 px of it is within the frame. The jaw line is left out, as it ends in the background.
    Raises InvalidInput for another image.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InvalidInput(f"image: expected uint8 (H, W, 3) BGR or (H, W), got {image.dtype} {image.shape}")
    import cv2

    points = np.asarray(landmarks, np.float64)
    inner = points[17:]
    low = np.maximum(np.floor(inner.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(inner.max(0)) + 1, image.shape[1::-1]).astype(int)
    if (high - low).min() < 4:
        return None
    patch = image[low[1] : high[1], low[0] : high[0]]
    grey = patch if patch.ndim == 2 else cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
    bright_share = float((grey >= 250).mean())
    eyes_px = math.dist(points[36:42].mean(0), points[42:48].mean(0))
    if eyes_px > EYES_PX:
        scale = EYES_PX / eyes_px
        size = (max(4, round(grey.shape[1] * scale)), max(4, round(grey.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0)).mean()
    return Appearance(float(grey.mean()), bright_share, float(fine / (grey.std() + 1.0)))
