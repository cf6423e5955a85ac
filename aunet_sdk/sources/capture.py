"""What a live source reads from: one connection to a camera or a stream, from its opening to its loss."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["HANG_MARGIN_S", "Capture", "Drops", "Opener", "Pulse", "Shot", "Taken"]

HANG_MARGIN_S = 1.5
"""so much longer than its time limit a call may take before its thread counts as stuck"""


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture as it came."""

    image: Callable[[], np.ndarray]
    """makes it: uint8 (H, W, 3) BGR; called once, and only if somebody wants the picture"""
    arrived_s: float
    """time.monotonic()"""
    stream_s: float | None = None
    """its time in the stream, seconds from any zero; None: it has none"""


@dataclass(frozen=True, eq=False)
class Taken:
    """A shot with its place in the source."""

    shot: Shot
    timestamp_s: float
    index: int
    segment: int


class Drops:
    """How many frames were dropped, by reason; for any number of threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, reason: str) -> None:
        with self._lock:
            self._counts[reason] += 1

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class Pulse:
    """Signs of life of one thread that reads: it calls `expect` and `drop`, the watchdog asks `left_s`."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._until_s: float | None = None

    def expect(self, within_s: float | None) -> None:
        """The next sign of life comes within so many seconds; None: the thread may rest."""
        self._until_s = None if within_s is None else time.monotonic() + within_s

    def drop(self, reason: str) -> None:
        """A frame of the source will not be handed out."""
        self._drops.add(reason)

    def left_s(self) -> float | None:
        """Seconds until the next sign of life is due, negative where it is overdue; None: none is."""
        until_s = self._until_s
        return None if until_s is None else until_s - time.monotonic()


class Capture(Protocol):
    """One connection. Used by one thread."""

    ends: bool
    """whether it has an end, as a file has: then `shots` ends there. Otherwise that is a loss"""
    fps: float | None
    """frames a second as the source declares them"""

    def shots(self, pulse: Pulse) -> Iterator[Shot]:
        """The pictures as they come. Raises SourceLost where the source stops to deliver. It calls `pulse.expect` at
        every sign of life, and `pulse.drop` for a frame that cannot be used."""

    def close(self) -> None:
        """Give back the connection."""


Opener = Callable[[], Capture]
"""Opens a connection. Raises SourceLost where it cannot be had now, BackendUnavailable and InvalidInput where it never
can."""
