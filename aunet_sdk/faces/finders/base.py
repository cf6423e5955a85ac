"""Face finders: what they promise, and which one is used."""

from __future__ import annotations

import logging
import math
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
        self._halves: list[np.ndarray] = []

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
        part, halved = image, 0
        while 2 * small.shape[0] <= part.shape[0] and not part.shape[0] % 2 and not part.shape[1] % 2:
            # Means of 2 x 2 pixels take a tenth of the time of means of any other size.
            part = cv2.resize(part, None, dst=self._half(part, halved), fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            halved += 1
        near = 2 * small.shape[0] > part.shape[0] and 2 * small.shape[1] > part.shape[1]
        cv2.resize(part, small.shape[1::-1], dst=small, interpolation=cv2.INTER_LINEAR if near else cv2.INTER_AREA)
        return small, width / small.shape[1], height / small.shape[0]

    def _half(self, part: np.ndarray, level: int) -> np.ndarray:
        """Room for a picture half as large, kept per level."""
        shape = part.shape[0] // 2, part.shape[1] // 2, 3
        if level == len(self._halves):
            self._halves.append(np.empty(0, np.uint8))
        if self._halves[level].size < math.prod(shape):
            self._halves[level] = np.empty(math.prod(shape), np.uint8)
        return self._halves[level][: math.prod(shape)].reshape(shape)

    def _buffer(self, width: int, height: int) -> np.ndarray:
        count = 3 * width * height
        if self._memory.size < count:
            self._memory = np.empty(count, np.uint8)
        return self._memory[:count].reshape(height, width, 3)
