"""Pictures to measure with where no video is at hand: drawn heads that the finder finds and the network follows.

They show nobody and mean nothing: what is measured on them is time. The heads sway a little, so that the crops change
from frame to frame as they do in a video.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..errors import InvalidInput
from ..sources.base import Frame

__all__ = ["SyntheticFrames", "draw_head"]

MAX_FACES = 64
PICTURES = 50
"""frames after which the pictures come again; the last leads back to the first"""

_SKIN, _SHADE, _HAIR, _BROW = (142, 172, 222), (104, 136, 190), (36, 44, 58), (44, 54, 74)
_LIP, _WHITE, _IRIS, _DARK = (92, 92, 178), (232, 236, 238), (70, 92, 96), (24, 26, 30)


def draw_head(side: int, mouth: float = 0.0) -> np.ndarray:
    """A head, facing the camera, on a grey ground.

    Args:
        side: of the picture, px, at least 16; the face (brow to chin) takes about half of it.
        mouth: how far it is open, 0..1.

    Returns:
        uint8 (side, side, 3) BGR.
    """
    import cv2

    big = 512  # drawn large, then reduced: smooth edges
    image = np.full((big, big, 3), 126, np.uint8)

    def ellipse(x: float, y: float, a: float, b: float, colour: tuple[int, int, int], turn: float = 0.0) -> None:
        cv2.ellipse(image, (round(x), round(y)), (round(a), round(b)), turn, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(256, 236, 146, 186, _HAIR)
    cv2.rectangle(image, (206, 380), (306, 511), _SHADE, -1)
    ellipse(256, 268, 122, 164, _SKIN)
    ellipse(256, 132, 110, 46, _HAIR)
    for way in (-1, 1):
        x = 256 + way * 50
        ellipse(x, 240, 36, 22, _SHADE)
        ellipse(x, 242, 25, 11, _WHITE)
        ellipse(x, 242, 11, 11, _IRIS)
        ellipse(x, 242, 5, 5, _DARK)
        cv2.ellipse(image, (x, 243), (26, 13), 0, 195, 345, _DARK, 4, cv2.LINE_AA)
        cv2.ellipse(image, (x, 222), (36, 16), 0, 200, 340, _BROW, 11, cv2.LINE_AA)
        ellipse(256 + way * 14, 314, 9, 6, _DARK)
        cv2.ellipse(image, (256 + way * 20, 306), (13, 14), 0, 90 - way * 90, 270 - way * 90, _SHADE, 5, cv2.LINE_AA)
        ellipse(256 + way * 116, 262, 12, 34, _SHADE)
    cv2.line(image, (246, 240), (242, 300), _SHADE, 6, cv2.LINE_AA)
    ellipse(256, 304, 15, 11, (156, 186, 232))
    gap = 26 * mouth
    ellipse(256, 358, 46, 15 + gap, _LIP)
    ellipse(256, 357, 38, 2 + gap, _DARK)
    cv2.ellipse(image, (256, 392 + round(gap)), (30, 8), 0, 0, 180, _SHADE, 4, cv2.LINE_AA)
    light = 1.0 - 0.35 * np.linspace(0, 1, big, dtype=np.float32)[None, :, None] ** 2
    image = cv2.GaussianBlur((image * light).astype(np.uint8), (0, 0), 3.0)
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
