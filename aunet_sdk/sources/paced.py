"""Files and folders as the options ask: at their own pace, with adjusted pictures, the newest frame only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from .adjust import Adjustment, RateLimit
from .base import Frame, Source, SourceBase
from .capture import Drops
from .options import SourceOptions

__all__ = ["PacedSource", "wants_changes"]


def wants_changes(options: SourceOptions) -> bool:
    """Whether a file with these options is any different from one without."""
    return options.realtime or options.fps is not None or Adjustment(options).changes


class PacedSource(SourceBase):
    """The frames of a file, adjusted, and with `options.realtime` each no sooner than its time has come.

    With the policy "latest" and in real time, a frame that is overdue by more than the one after it is dropped
    ("superseded"), as a camera would do it; with "all" it comes late. Frames that were dropped keep their index.
    `close` may be called from another thread and ends the iteration. Errors are those of the source.
    """

    def __init__(self, source: Source, options: SourceOptions) -> None:
        self.source = source
        self.options = options
        self.frame_count = source.frame_count
        self._adjust = Adjustment(options).apply
        self._closing = threading.Event()
        self._drops = Drops()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many frames were not handed out, by reason: "rate" (beyond `options.fps`), "superseded"."""
        return self._drops.counts()

    def __iter__(self) -> Iterator[Frame]:
        limit = RateLimit(self.options.fps)
        frames = (frame for frame in self.source if self._keeps(limit, frame))
        for frame in self._in_time(frames) if self.options.realtime else frames:
            if self._closing.is_set():
                return
            yield replace(frame, image=self._adjust(frame.image))

    def _keeps(self, limit: RateLimit, frame: Frame) -> bool:
        if limit.keeps(frame.timestamp_s):
            return True
        self._drops.add("rate")
        return False

    def _in_time(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        begun_s: float | None = None
        waiting: Frame | None = None
        for frame in frames:
            if begun_s is None:
                begun_s = time.monotonic() - frame.timestamp_s
            if waiting is not None:
                if self.options.policy == "latest" and time.monotonic() >= begun_s + frame.timestamp_s:
                    self._drops.add("superseded")
                else:
                    yield from self._due(waiting, begun_s)
            waiting = frame
        if waiting is not None and begun_s is not None:
            yield from self._due(waiting, begun_s)

    def _due(self, frame: Frame, begun_s: float) -> Iterator[Frame]:
        self._closing.wait(max(0.0, begun_s + frame.timestamp_s - time.monotonic()))
        yield frame

    def close(self) -> None:
        self._closing.set()
        self.source.close()
