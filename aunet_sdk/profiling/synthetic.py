"""Pictures to measure with where there is no video: drawn heads that the finder finds and the network follows.

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
    soft = cv2.GaussianBlur((image * light).astype(np.uint8), (0, 0), 3.0)
    return np.asarray(cv2.resize(soft, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


class SyntheticFrames:
    """Endless frames of drawn heads on a grid, with the time of a video: a frame every 1 / fps seconds.

    Args:
        faces: how many heads, 1 to 64.
        width, height: px; the heads must have 48 px each.
        fps: of the timestamps; the frames come as fast as they are asked for.

    All pictures are drawn on construction. Raises InvalidInput.
    """

    frame_count = None

    def __init__(self, faces: int = 1, width: int = 640, height: int = 360, fps: float = 25.0) -> None:
        for name, value, high in (("faces", faces, MAX_FACES), ("width", width, 8192), ("height", height, 8192)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
                raise InvalidInput(f"{name}: expected a whole number from 1 to {high}, got {value!r}")
        if not 0 < fps <= 1000:
            raise InvalidInput(f"fps: expected a number above 0, at most 1000, got {fps!r}")
        columns = max(range(1, faces + 1), key=lambda n: min(width // n, height // -(-faces // n)))
        cell = width // columns, height // -(-faces // columns)
        side = int(0.9 * min(cell))
        if side < 48:
            raise InvalidInput(
                f"faces: expected heads of at least 48 px, got {side} px for {faces} in {width}x{height}; "
                "take fewer faces or larger frames"
            )
        self.faces, self.width, self.height, self.fps = faces, width, height, fps
        mouths = [draw_head(side, (1 - math.cos(i * math.tau / 8)) / 2) for i in range(5)]
        self._pictures = [self._picture(i, mouths, columns, cell, side) for i in range(PICTURES)]

    def _picture(
        self, index: int, mouths: list[np.ndarray], columns: int, cell: tuple[int, int], side: int
    ) -> np.ndarray:
        image = np.full((self.height, self.width, 3), 126, np.uint8)
        for face in range(self.faces):
            phase = math.tau * (index / PICTURES + face / self.faces)
            play = (cell[0] - side, cell[1] - side)
            x = face % columns * cell[0] + round(play[0] / 2 + min(play[0] / 2, side / 20) * math.sin(phase))
            y = face // columns * cell[1] + round(play[1] / 2 + min(play[1] / 2, side / 30) * math.cos(2 * phase))
            open_ = mouths[min(4, round(4 * abs(math.sin(2 * phase))))]
            image[y : y + side, x : x + side] = open_
        return image

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            yield Frame(self._pictures[index % PICTURES], index / self.fps, index)
            index += 1

    def close(self) -> None:
        """Nothing to give back."""
