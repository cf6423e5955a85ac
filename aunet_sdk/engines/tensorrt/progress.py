"""What the builder of TensorRT is at, in the log, for whoever gave no callback of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["LoggedProgress"]

log = logging.getLogger(__name__)

EVERY_S = 15.0
SHARE = 0.1
PAUSE_S = 5.0


class LoggedProgress:
    """build.Progress that writes a warning, which is seen without any set-up, every 15 s or 10 % of the build.

    Two lines are 5 s apart at least, so that a short build says nothing. The share is that of the outermost phase; the
    builder may come with phases inside it, and from several threads.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._lock = threading.Lock()
        self._begun_s = self._said_s = clock()
        self._outer = ""
        self._share = self._said_share = 0.0
        self._said = False

    def __call__(self, phase: str, share: float) -> None:
        """See build.Progress."""
        with self._lock:
            if not self._outer:
                if share >= 1.0:  # of a phase inside one that is over
                    return
                self._outer = phase
            if phase == self._outer:
                self._share = share
            now_s = self._clock()
            since_s, further = now_s - self._said_s, self._share - self._said_share
            over = phase == self._outer and share >= 1.0
            if since_s >= EVERY_S or (since_s >= PAUSE_S and further > SHARE - 1e-9) or (over and self._said):
                self._say(phase, now_s)
            if over:  # another outermost phase may follow
                self._outer, self._share, self._said_share = "", 0.0, 0.0

    def _say(self, phase: str, now_s: float) -> None:
        self._said, self._said_s, self._said_share = True, now_s, self._share
        inside = "" if phase == self._outer else f", {phase}"
        log.warning(
            "building %s: %s %.0f %%%s (%.0f s so far)",
            self._name, self._outer, 100 * self._share, inside, now_s - self._begun_s,
        )  # fmt: skip
