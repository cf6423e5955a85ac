"""The states of a live source. No thread, no clock and no device of its own: `live.LiveSource` drives it."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

__all__ = ["STEADY_S", "Connection", "SourceState", "StateListener"]

STEADY_S = 5.0
"""a source that ran for so long before it was lost is tried again without delay; one that only flickers is not"""


class SourceState(str, Enum):
    """What a live source is doing."""

    OPENING = "opening"
    """it has not given a frame yet"""
    RUNNING = "running"
    LOST = "lost"
    """it stopped to deliver; the pause before the next attempt"""
    RECONNECTING = "reconnecting"
    """attempts are being made"""
    CLOSED = "closed"
    """no frame will come any more: it was closed, it ended, or it failed for good"""

    def __str__(self) -> str:
        return self.value


StateListener = Callable[[SourceState, "str | None"], None]
"""is told a state and its reason"""

_NEXT = {
    SourceState.OPENING: {SourceState.RUNNING, SourceState.CLOSED},
    SourceState.RUNNING: {SourceState.LOST, SourceState.CLOSED},
    SourceState.LOST: {SourceState.RECONNECTING, SourceState.CLOSED},
    SourceState.RECONNECTING: {SourceState.RUNNING, SourceState.CLOSED},
    SourceState.CLOSED: set(),
}


class Connection:
    """Where a live source stands, in which segment it is, and how long to wait before the next attempt.

    An attempt that fails leaves the state as it is, opening or reconnecting, and changes the reason alone.

    Args:
        first_s, most_s: the first and the longest pause, in seconds.
        jitter: gives a number in [0, 1); by half of it every pause is shortened, so that many sources that were lost
            together do not come back together.
    """

    def __init__(self, first_s: float, most_s: float, jitter: Callable[[], float] = random.random) -> None:
        self.state = SourceState.OPENING
        self.reason: str | None = None
        self.segment = 0
        self._first_s, self._most_s, self._jitter = first_s, most_s, jitter
        self._failures = 0
        self._delivered = False
        self._since_s = 0.0

    def attempting(self) -> None:
        """An attempt to open it begins."""
        if self.state is SourceState.LOST:
            self._go(SourceState.RECONNECTING, self.reason)

    def delivered(self, now_s: float) -> None:
        """A frame has come, at `now_s` on any clock that grows."""
        if self.state in (SourceState.OPENING, SourceState.RECONNECTING):
            self.segment += self._delivered
            self._delivered, self._since_s = True, now_s
            self._go(SourceState.RUNNING, None)

    def failed(self, reason: str, now_s: float) -> float:
        """It could not be opened, or stopped to deliver. Returns the pause before the next attempt, in seconds."""
        if self.state is SourceState.RUNNING:
            if now_s - self._since_s >= STEADY_S:
                self._failures = 0
            self._go(SourceState.LOST, reason)
        elif self.state is not SourceState.CLOSED:
            self.reason = reason
        pause_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return pause_s * (1 - 0.5 * self._jitter())

    def close(self, reason: str | None = None) -> None:
        """No frame will come any more; may be called again, which changes nothing."""
        if self.state is not SourceState.CLOSED:
            self._go(SourceState.CLOSED, reason)

    def _go(self, state: SourceState, reason: str | None) -> None:
        assert state in _NEXT[self.state], f"{self.state} -> {state}"
        self.state, self.reason = state, reason
