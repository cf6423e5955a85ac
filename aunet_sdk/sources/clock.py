"""The times of a live stream on the clock of this machine."""

from __future__ import annotations

__all__ = ["StreamClock"]

JUMP_S = 1.0
"""a stream's time that runs ahead of ours by more than this from one frame to the next has jumped"""
LATE_S = 1.0
LATE_FOR_S = 5.0
"""frames that come later than their times say, by `LATE_S`, for so long: the stream's clock stood still"""
DRIFT = 1e-3
"""so fast, in seconds a second, a stream's clock that runs slow is followed; quartz is off by a tenth of that"""
SMALLEST_STEP_S = 1e-4


class StreamClock:
    """Puts the times of a stream's frames on the clock `time.monotonic`, strictly growing, over any number of
    connections.

    Frames are evenly spaced in the stream's own time and jitter on their way. So a frame's time is its stream time plus
    an offset, the least delay between the two clocks: it follows frames that come sooner at once (a step in stream time
    is shortened to a half at most), and a clock that drifts slowly. Where the stream's time jumps, or it has none, the
    time of arrival holds.
    """

    def __init__(self) -> None:
        self._last_s = float("-inf")
        self.restart()

    def restart(self) -> None:
        """A new connection: what the stream's clock has to do with ours is unknown."""
        self._stream_s: float | None = None
        self._arrived_s = self._offset_s = 0.0
        self._late_since_s: float | None = None

    def time_s(self, stream_s: float | None, arrived_s: float, own: bool = False) -> float:
        """The time of the next frame.

        Args:
            stream_s: in the stream, seconds from any zero; None where it has none.
            arrived_s: time.monotonic() when it came.
            own: whether the stream's own time is to be kept as it is, since it may come at any speed.
        """
        if own and stream_s is not None:
            time_s = stream_s
        elif stream_s is None:
            self._stream_s = None
            time_s = arrived_s
        else:
            self._follow(stream_s, arrived_s)
            time_s = stream_s + self._offset_s
        self._last_s = max(time_s, self._last_s + SMALLEST_STEP_S)
        return self._last_s

    def _follow(self, stream_s: float, arrived_s: float) -> None:
        delay_s = arrived_s - stream_s
        before_s, self._stream_s = self._stream_s, stream_s
        waited_s, self._arrived_s = arrived_s - self._arrived_s, arrived_s
        step_s = 0.0 if before_s is None else stream_s - before_s
        if before_s is None or step_s <= 0 or step_s > waited_s + JUMP_S or self._stood_still(delay_s, arrived_s):
            self._offset_s, self._late_since_s = delay_s, None
        else:
            self._offset_s = max(min(delay_s, self._offset_s + DRIFT * step_s), self._offset_s - step_s / 2)

    def _stood_still(self, delay_s: float, arrived_s: float) -> bool:
        if delay_s - self._offset_s < LATE_S:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = arrived_s
        return self._late_since_s is not None and arrived_s - self._late_since_s > LATE_FOR_S
