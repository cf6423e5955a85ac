"""What a live source tells of its states: a line in the log and a call, in order."""

from __future__ import annotations

import logging
import threading
from collections import deque

from .connection import SourceState, StateListener

__all__ = ["News"]

log = logging.getLogger(__name__)


class News:
    """Changes are noted where they happen, under the lock of whoever notes them, and told outside of it."""

    def __init__(self, name: str, on_state: StateListener | None = None) -> None:
        self.on_state = on_state
        self._name = name
        self._telling = threading.Lock()
        self._untold: deque[tuple[SourceState, str | None]] = deque()
        self._last: tuple[SourceState, str | None] = (SourceState.OPENING, None)

    def note(self, state: SourceState, reason: str | None) -> None:
        """This is how it is now."""
        if (state, reason) != self._last:
            self._last = (state, reason)
            self._untold.append(self._last)

    def tell(self) -> None:
        """Log what was noted, and call `on_state`. Whoever comes while another tells leaves it to that one."""
        while self._untold and self._telling.acquire(blocking=False):
            try:
                while self._untold:
                    self._tell(*self._untold.popleft())
            finally:
                self._telling.release()

    def _tell(self, state: SourceState, reason: str | None) -> None:
        level = logging.WARNING if reason and state is not SourceState.CLOSED else logging.INFO
        log.log(level, "%s is %s%s", self._name, state, f": {reason}" if reason else "")
        if self.on_state is not None:
            try:
                self.on_state(state, reason)
            except Exception as error:
                # Without the error that the source was lost by, which may show its address with a password.
                error.__suppress_context__ = True
                log.exception("%s: on_state failed", self._name)
