"""Sums over a window of time that slides, in a fixed amount of memory."""

from __future__ import annotations

import math
from collections import deque

__all__ = ["WindowSum"]


class WindowSum:
    """The sum of amounts over the last `window_s` seconds.

    The window slides in steps of window_s / steps: an amount counts for between window_s and one step more than that.
    At most steps + 1 pairs of numbers are kept, whatever comes.
    """

    def __init__(self, window_s: float, steps: int = 60) -> None:
        self.window_s = window_s
        self._step_s = window_s / steps
        self._steps = steps
        self._bins: deque[list[float]] = deque()
        """[number of the step, amount], ascending"""

    def add(self, time_s: float, amount: float) -> None:
        """Adds `amount` at this time, which must not be before the last one."""
        step = math.floor(time_s / self._step_s)
        self._forget(step)
        if self._bins and self._bins[-1][0] >= step:
            self._bins[-1][1] += amount
        else:
            self._bins.append([step, amount])

    def total(self, time_s: float) -> float:
        """The sum at this time, which must not be before the last one."""
        self._forget(math.floor(time_s / self._step_s))
        return math.fsum(amount for _, amount in self._bins)

    def __len__(self) -> int:
        """How many pairs of numbers are kept."""
        return len(self._bins)

    def _forget(self, step: int) -> None:
        while self._bins and self._bins[0][0] < step - self._steps:
            self._bins.popleft()
