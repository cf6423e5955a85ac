"""Results come in the order of time: one check for all that is made of them."""

from __future__ import annotations

import math

from ..errors import InvalidInput
from ..results import FrameResult

__all__ = ["later_s"]


def later_s(result: FrameResult, last_s: float, restart: str) -> float:
    """The time of a result, seconds, after that of the one before. restart: the method that begins another stream.

    Raises InvalidInput for a time that is not finite or does not grow.
    """
    now_s = float(result.timestamp_s)
    if not last_s < now_s < math.inf:
        raise InvalidInput(
            f"timestamp_s: expected a finite time after {last_s:g} s, got {now_s:g} s; give final results in their "
            f"order, and call {restart}() between two streams"
        )
    return now_s
