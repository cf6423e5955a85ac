"""What SourceOptions ask of a picture: turned, mirrored, made smaller; and of the rate: frames left out."""

from __future__ import annotations

import numpy as np

from .display import UPRIGHT, Orientation
from .options import SourceOptions

__all__ = ["Adjustment", "RateLimit"]

_TURNS = {
    0: (False, False, False),
    90: (True, True, False),
    180: (False, True, True),
    270: (True, False, True),
}
"""clockwise degrees -> transposed, then mirrored, flipped"""


class Adjustment:
    """Brings pictures into the form that the options ask for."""

    def __init__(self, options: SourceOptions) -> None:
        transposed, mirrored, flipped = _TURNS[options.rotation]
        self._orientation = Orientation(transposed, mirrored != options.mirror, flipped)
        self._most = (options.width, options.height)

    @property
    def changes(self) -> bool:
        """Whether any picture may come out different."""
        return self._orientation != UPRIGHT or self._most != (None, None)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, C) -> the same, turned, mirrored, and scaled down to fit; the very same array where there is
        nothing to do."""
        image = self._orientation.apply(image)
        height, width = image.shape[:2]
        scale = min([1.0, *(most / side for most, side in zip(self._most, (width, height), strict=True) if most)])
        if scale == 1:
            return image
        import cv2

        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class RateLimit:
    """Which frames of a source are handed out at `fps` frames a second; None: all are."""

    def __init__(self, fps: float | None) -> None:
        self._period_s = None if fps is None else 1 / fps
        self.restart()

    def restart(self) -> None:
        """The next frame is handed out."""
        self._due_s = float("-inf")

    def keeps(self, time_s: float) -> bool:
        """Whether the frame of this time is handed out. A quarter of a period is forgiven, since frames jitter."""
        if self._period_s is None:
            return True
        if time_s < self._due_s - self._period_s / 4:
            return False
        behind = time_s - self._due_s > self._period_s
        self._due_s = (time_s if behind else self._due_s) + self._period_s
        return True
