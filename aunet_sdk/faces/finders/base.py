"""Face finders: what they promise, and which one is used."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_log = logging.getLogger(__name__)

LONGER_SIDE_PX = 320
"""pictures are scaled down to this longer side before a finder sees them"""
MIN_CONFIDENCE = 0.6
"""of a box; on the test clips every true face scores 0.88 or more and every false one 0.24 or less"""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One box of a finder."""

    box: np.ndarray
    """(4,) float64: x, y, width, height in pixels of the frame; encloses brow to chin and ear to ear, forehead
    included"""
    score: float
    """0..1"""
    points: np.ndarray | None = None
    """(5, 2) float64: eye, eye, nose tip, mouth corner, mouth corner, image's left first; None where the finder has
    none"""


class FaceFinder(Protocol):
    """Finds faces in one picture, without memory."""

    name: str

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """The faces in `image`, uint8 (H, W, 3) BGR, best first; it is scaled down to this longer side for the
        search."""
        ...


class Shrinker:
    """Scales pictures down into one buffer, which grows to the largest that was wanted and is used again."""

    def __init__(self) -> None:
        self._memory: np.ndarray = np.empty(0, np.uint8)

    def __call__(self, image: np.ndarray, longer_side_px: int) -> tuple[np.ndarray, float, float]:
        """The picture at no more than this longer side, without gaps in memory, and the factors (x, y) from it back to
        the frame. It is good until the next call."""
        import cv2

        height, width = image.shape[:2]
        scale = longer_side_px / max(height, width)
        if scale >= 1:
            if image.flags.c_contiguous:
                return image, 1.0, 1.0
            whole = self._buffer(width, height)
            np.copyto(whole, image)
            return whole, 1.0, 1.0
        small = self._buffer(max(1, round(width * scale)), max(1, round(height * scale)))
        cv2.resize(image, small.shape[1::-1], dst=small, interpolation=cv2.INTER_AREA)
        return small, width / small.shape[1], height / small.shape[0]

    def _buffer(self, width: int, height: int) -> np.ndarray:
        count = 3 * width * height
        if self._memory.size < count:
            self._memory = np.empty(count, np.uint8)
        return self._memory[:count].reshape(height, width, 3)
