"""How fast results come, and how old they are."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque

__all__ = ["Pace"]

SPAN_S = 5.0
MOST = 1024


class Pace:
    """Results per second and the age of results, of the last five seconds. For one writer and any number of readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._emitted: deque[tuple[float, float | None]] = deque(maxlen=MOST)

    def add(self, now_s: float, came_s: float | None) -> None:
        """A result was emitted now; its frame came at `came_s` (both monotonic)."""
        with self._lock:
            self._emitted.append((now_s, None if came_s is None else now_s - came_s))

    def fps(self, now_s: float | None = None) -> float | None:
        """Results per second up to now, so that it falls where nothing comes any more; None before the second one."""
        recent = self._recent(now_s)
        if len(recent) < 2:
            return 0.0 if self._emitted and not recent else None
        return (len(recent) - 1) / max(recent[-1][0] - recent[0][0], 1e-9)

    def age_ms(self, now_s: float | None = None) -> float | None:
        """Median time from a frame's arrival to its result; None where there was none."""
        ages = [age_s for _, age_s in self._recent(now_s) if age_s is not None]
        return 1e3 * statistics.median(ages) if ages else None

    def _recent(self, now_s: float | None) -> list[tuple[float, float | None]]:
        since_s = (time.monotonic() if now_s is None else now_s) - SPAN_S
        with self._lock:
            return [each for each in self._emitted if each[0] >= since_s]
