"""Which frames of a stream are worked on where fewer than all are wanted."""

from __future__ import annotations

import math

from ..errors import InvalidInput

__all__ = ["Pace"]

_ROUNDING_S = 1e-6


class Pace:
    """So many frames a second, evenly by their times: the first frame at or after each tick of a clock that starts with
    the first frame. After a gap it starts anew.

    Args:
        rate_hz: None: every frame.
    """

    def __init__(self, rate_hz: float | None) -> None:
        self._period_s = None if rate_hz is None else 1 / rate_hz
        self.passed_over = 0
        self.restart()

    def restart(self) -> None:
        """The next frame begins another stream and is worked on."""
        self._next_s = self._last_s = -math.inf

    def due(self, time_s: float) -> bool:
        """Whether the frame of this time is worked on. Raises InvalidInput where it is to be passed over and its time
        does not grow; of the others the session says so."""
        if self._period_s is None or time_s >= self._next_s - _ROUNDING_S:
            return True
        if time_s <= self._last_s:
            raise InvalidInput(f"timestamp_s: expected a time after {self._last_s:g} s, got {time_s:g} s")
        return False

    def done(self, time_s: float) -> None:
        """The frame of this time was worked on, or passed over, without an error."""
        self._last_s = time_s
        if self._period_s is None:
            return
        if time_s < self._next_s - _ROUNDING_S:
            self.passed_over += 1
            return
        self._next_s += self._period_s
        if not time_s < self._next_s - _ROUNDING_S:  # the first frame, or after a gap
            self._next_s = time_s + self._period_s
