"""When it is time to look again: by the clock of the stream alone.

A look that is due so long after the last one depends on all looks before it. Here the stream's time is parted into
turns of equal length, and a look is due with the first frame of a turn. What came in between, a face that was lost or
a look out of turn, shifts nothing, so that two streams of one video that began at different frames soon look at the
same ones (jobs/split.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cadence"]

_EPSILON = 1e-6
"""of a turn: times are rounded"""


@dataclass(eq=False)
class Cadence:
    """The turns of one stream.

    origin_s: when turn 0 begins, on the clock of the frames; None: with the first frame, which `begin`
    tells.
    """

    origin_s: float | None = None

    def begin(self, now_s: float) -> None:
        """Turn 0 begins with this frame, unless it has begun."""
        if self.origin_s is None:
            self.origin_s = now_s

    def turn(self, now_s: float, period_s: float) -> int:
        """The turn to which a time belongs, `period_s` being the length of one; that is above 0."""
        return math.floor((now_s - (self.origin_s or 0.0)) / period_s + _EPSILON)

    def due(self, last_s: float, now_s: float, period_s: float) -> bool:
        """Whether a turn has begun since `last_s`; always, where turns take no time."""
        return period_s <= 0 or self.turn(last_s, period_s) != self.turn(now_s, period_s)
