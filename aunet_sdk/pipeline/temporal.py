"""Neighbours in time: which earlier and which later frame go with a frame.

The paper looks at the frames t - T, t and t + T, T = 10 frames at 25 Hz: 0.4 s. Here time rules, not the count of
frames, so that the interval stays the same at any frame rate and with dropped frames.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from ..errors import InvalidInput
from ..options import LookAhead
from ..results import Context

__all__ = ["Due", "TemporalBuffer"]

T = TypeVar("T")

RECENT_COUNT = 15
"""Differences of time that the frame period is the median of."""

TOLERANCE_PERIODS = 1.5
"""A neighbour is at most this many frame periods off t - T or t + T."""

SPARSE_COUNT = 5
"""Differences of time from which on something is said about the rate."""

EPSILON_S = 1e-6
"""Rounding of timestamps."""

_CHOICES = ("full", "none", "both")


@dataclass(frozen=True, eq=False, slots=True)
class Due(Generic[T]):
    """A frame whose turn it is, with its neighbours."""

    timestamp_s: float
    item: T
    former: T | None
    """the frame nearest to t - T; None: no frame is near, the item stands in"""
    later: T | None
    """the frame nearest to t + T; None: no frame is near (yet), the item stands in"""
    context: Context
    """full, past (former alone), future (later alone), none"""
    provisional: bool
    """the final one, with the later frame, is still to come"""


class TemporalBuffer(Generic[T]):
    """Keeps what belongs to a frame until the frame and its neighbours have had their turn.

    A neighbour is the frame nearest to t +- `interval_s`, at most 1.5 frame periods off; where frame t itself is the
    nearest, it stands in. The period is the median of the last 15 differences. Frame t is due as soon as a frame at or
    after t + `interval_s` is there. What comes out depends on the timestamps alone.

    What is kept: the frames that wait, those that can still become a former neighbour, and one before them; about
    2 * `interval_s` of frames. With `most_fps` that is bounded: no more frames wait than come in `interval_s` at that
    rate, and one; where they come faster the oldest is due before its later neighbour is there. In all, twice as many
    and one are kept.

    Args:
        interval_s: T, seconds, at least 0.001.
        look_ahead: "full": every frame once, with both neighbours, `interval_s` late. "none": at once, without the
            later one. "both": at once and provisional, and once more when due.
        on_evict: called with every item that is not needed any more, oldest first, also on `flush`.
        most_fps: rate up to which every neighbour is kept; None: whatever the rate is.

    Raises:
        InvalidInput: an interval that is not finite or below 0.001, an unknown look_ahead.
    """

    def __init__(
        self,
        interval_s: float = 0.4,
        look_ahead: LookAhead = "full",
        on_evict: Callable[[T], None] | None = None,
        most_fps: float | None = None,
    ) -> None:
        if not (math.isfinite(interval_s) and interval_s >= 0.001):
            raise InvalidInput(f"interval_s: expected at least 0.001 s, got {interval_s}")
        if look_ahead not in _CHOICES:
            raise InvalidInput(f"look_ahead: expected one of {', '.join(_CHOICES)}, got {look_ahead!r}")
        self.interval_s = float(interval_s)
        self.look_ahead: LookAhead = look_ahead
        self._on_evict = on_evict
        self._most_waiting = None if most_fps is None else math.ceil(interval_s * most_fps - EPSILON_S) + 1
        self.crowded = False
        """frames came faster than `most_fps`, and one was due, or forgotten, before its time"""
        self._times: list[float] = []
        self._items: list[T] = []
        self._waiting = 0  # index of the first frame that was not due yet; all before it are kept as neighbours
        self._differences: deque[float] = deque(maxlen=RECENT_COUNT)
        self._period_s: float | None = None

    def __len__(self) -> int:
        """Items that are kept."""
        return len(self._items)

    @property
    def waiting(self) -> int:
        """Items that are not due yet."""
        return len(self._times) - self._waiting

    @property
    def period_s(self) -> float | None:
        """Frame period, seconds; None before the second frame."""
        return self._period_s

    @property
    def sparse(self) -> bool:
        """Whether the frames are so far apart that none can be a neighbour of another."""
        return len(self._differences) >= SPARSE_COUNT and (self._period_s or 0.0) > 2 * self.interval_s

    def snapshot(self) -> Callable[[], None]:
        """What puts the buffer back to where it is now, for a frame that cannot be worked through after all."""
        times, items = self._times.copy(), self._items.copy()
        differences = tuple(self._differences)  # a deque takes five times the room
        waiting, period_s, crowded = self._waiting, self._period_s, self.crowded

        def restore() -> None:
            self._times, self._items = times, items
            self._differences.clear()
            self._differences.extend(differences)
            self._waiting, self._period_s, self.crowded = waiting, period_s, crowded

        return restore

    def add(self, timestamp_s: float, item: T) -> list[Due[T]]:
        """Take in the next frame.

        Args:
            timestamp_s: seconds on a monotonic clock, later than every one before it.
            item: what is kept for the frame.

        Returns:
            What is due now, in the order of time: the final ones of earlier frames ("full", "both"), then this frame's
            own ("none": final; "both": provisional).

        Raises:
            InvalidInput: a time that is NaN, infinite or not later than the last one; the buffer is then as it was.
        """
        time_s = self._checked(timestamp_s)
        if self._times:
            self._differences.append(time_s - self._times[-1])
            self._period_s = median(self._differences)
        self._times.append(time_s)
        self._items.append(item)
        dues: list[Due[T]] = []
        if self.look_ahead != "none":
            while time_s >= self._times[self._waiting] + self.interval_s - EPSILON_S:
                dues.append(self._due(self._waiting))
                self._waiting += 1
            while self._most_waiting is not None and len(self._times) - self._waiting > self._most_waiting:
                dues.append(self._due(self._waiting))
                self._waiting += 1
                self.crowded = True
        if self.look_ahead != "full":
            dues.append(self._due(len(self._times) - 1, provisional=self.look_ahead == "both"))
        if self.look_ahead == "none":
            self._waiting = len(self._times)
        self._evict()
        return dues

    def flush(self) -> list[Due[T]]:
        """The end of the video: the final ones of the frames that still wait, in the order of time.

        The buffer is empty afterwards and starts anew with any timestamp.
        """
        dues = [self._due(i) for i in range(self._waiting, len(self._times))]
        gone = self._items
        self._times, self._items, self._waiting = [], [], 0
        self._differences.clear()
        self._period_s = None
        self._tell(gone)
        return dues

    def _checked(self, timestamp_s: float) -> float:
        try:
            time_s = float(timestamp_s)
        except (TypeError, ValueError):
            raise InvalidInput(f"timestamp_s: expected seconds as a number, got {timestamp_s!r}") from None
        if not math.isfinite(time_s):
            raise InvalidInput(f"timestamp_s: expected finite seconds, got {time_s}; leave this frame out")
        if self._times and time_s <= self._times[-1]:
            raise InvalidInput(
                f"timestamp_s: expected a time after the last frame's {self._times[-1]:.6f} s, got {time_s:.6f} s; "
                "use a monotonic clock, and flush() before another video starts"
            )
        return time_s

    def _due(self, i: int, provisional: bool = False) -> Due[T]:
        former = self._nearest(self._times[i] - self.interval_s, i, 0, i)
        later = self._nearest(self._times[i] + self.interval_s, i, i + 1, len(self._times))
        context = (
            (Context.FULL if later is not None else Context.PAST)
            if former is not None
            else (Context.FUTURE if later is not None else Context.NONE)
        )
        return Due(
            self._times[i],
            self._items[i],
            None if former is None else self._items[former],
            None if later is None else self._items[later],
            context,
            provisional,
        )

    def _nearest(self, wanted_s: float, own: int, start: int, stop: int) -> int | None:
        """Index in [start, stop) of the frame nearest to `wanted_s`, if it is near enough and nearer than `own`."""
        if start >= stop or self._period_s is None:
            return None
        at = bisect_left(self._times, wanted_s, start, stop)
        near = [i for i in (at - 1, at) if start <= i < stop]
        best = min(near, key=lambda i: abs(self._times[i] - wanted_s))
        off_s = abs(self._times[best] - wanted_s)
        limit_s = min(abs(self._times[own] - wanted_s), TOLERANCE_PERIODS * self._period_s + EPSILON_S)
        return best if off_s <= limit_s else None

    def _evict(self) -> None:
        """Drop what lies before the last frame at or before t - T, t being the earliest frame to come out yet."""
        earliest_s = self._times[min(self._waiting, len(self._times) - 1)]
        cut = max(bisect_left(self._times, earliest_s - self.interval_s + EPSILON_S) - 1, 0)
        if self._most_waiting is not None and len(self._times) - cut > 2 * self._most_waiting + 1:
            cut, self.crowded = len(self._times) - 2 * self._most_waiting - 1, True
        if cut:
            gone = self._items[:cut]
            del self._times[:cut], self._items[:cut]
            self._waiting -= cut
            self._tell(gone)

    def _tell(self, gone: list[T]) -> None:
        if self._on_evict is not None:
            for item in gone:
                self._on_evict(item)
