"""Which AUs cannot be seen where part of the face is behind something, and what training aims at then.

What nobody sees is not reported: AUs that only lips, chin and jaw show are trained towards 0 while the mouth is out of
sight, those of the lids while the eyes are. The others keep their target, since the rest of the face lets one guess at
them (AU12 lifts the cheeks, too).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOUTH, UPPER_FACE = np.arange(48, 68), np.array([*range(17, 27), *range(36, 48)])
UPPER_AUS = (1, 2, 4, 5, 6, 7, 45)
MOST = 0.4
"""A part of the face is out of sight when more than this share of its points is: a mouth seen by a gap between fingers
cannot be distinguished from the dark of the hand."""


def hidden_aus(hidden: NDArray[np.bool_], au_numbers: Sequence[int]) -> NDArray[np.bool_]:
    """(..., n) bool: AUs of a part of the face that is out of sight.

    Args:
        hidden: (..., 68) bool, points behind something.
    """
    lower = hidden[..., MOUTH].mean(-1, keepdims=True) > MOST
    upper = hidden[..., UPPER_FACE].mean(-1, keepdims=True) > MOST
    return np.where(np.isin(au_numbers, UPPER_AUS), upper, lower)


def not_shown(hidden: NDArray[np.bool_], au_numbers: Sequence[int]) -> NDArray[np.bool_]:
    """(..., n) bool: hidden AUs that nothing else in the face betrays."""
    return hidden_aus(hidden, au_numbers) & np.isin(au_numbers, (5, 10, 17, 20, 23, 24, 25, 26, 45))


__all__ = ["MOUTH", "UPPER_FACE", "hidden_aus", "not_shown"]
