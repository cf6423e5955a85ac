"""How a stored picture is to be shown: turned, mirrored, with pixels that are not square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import InvalidInput

_ONE = 1 << 16
_SLACK = 0.02
"""a display matrix that is off a multiple of 90 degrees by less than this (a sine) is rounding"""
LARGEST_ASPECT = 8
"""a pixel is never taller or wider than this"""
NEARLY_SQUARE = 0.01


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture on its sides: first transposed, then mirrored."""

    transposed: bool = False
    mirrored: bool = False
    """left and right change places, after the transposition"""
    flipped: bool = False
    """top and bottom change places, after the transposition"""

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The picture as it is to be shown.

        Args:
            image: (H, W, C), any dtype that OpenCV takes.

        Returns:
            (H, W, C), or (W, H, C) where it is transposed; the very same array where nothing is to be done.
        """
        if self == UPRIGHT:
            return image
        import cv2

        if self.transposed:
            image = cv2.transpose(image)
        if self.mirrored or self.flipped:
            image = cv2.flip(image, -1 if self.mirrored and self.flipped else 1 if self.mirrored else 0)
        return image


UPRIGHT = Orientation()
# TIFF 6.0 and EXIF 2.3, tag 274: which side of the stored picture is shown at the top and on the left.
EXIF_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(mirrored=True),
    3: Orientation(mirrored=True, flipped=True),
    4: Orientation(flipped=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, mirrored=True),
    7: Orientation(transposed=True, mirrored=True, flipped=True),
    8: Orientation(transposed=True, flipped=True),
}


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """The orientation in a display matrix (ISO/IEC 14496-12, 6.2.2).

    Args:
        matrix: nine whole numbers a, b, u, c, d, v, x, y, w; a to d with 16 bits behind the point. A point (p, q) is
            shown at (a p + c q, b p + d q).

    Raises InvalidInput for a matrix that shears the picture or turns it by anything but a multiple of 90 degrees.
    """
    a, b, c, d = (int(matrix[i]) / _ONE for i in (0, 1, 3, 4))
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 0 and max(abs(b), abs(c)) <= _SLACK * straight:
        return Orientation(mirrored=a < 0, flipped=d < 0)
    if crossed > 0 and max(abs(a), abs(d)) <= _SLACK * crossed:
        return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
    raise InvalidInput(
        f"display matrix: expected a turn by a multiple of 90 degrees or a mirror, got {a:g}, {b:g}, {c:g}, {d:g}; "
        "turn the video upright, for instance with ffmpeg"
    )


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels of a picture whose pixels are `aspect` times as wide as tall.

    No side becomes shorter, so that no detail is lost. An aspect that is not known, that differs from 1 by less than
    1 %, or that is beyond 8 (which no camera has) leaves the picture as it is.
    """
    if not aspect or not Fraction(1, LARGEST_ASPECT) <= aspect <= LARGEST_ASPECT:
        return width, height
    if abs(float(aspect) - 1) < NEARLY_SQUARE:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)
