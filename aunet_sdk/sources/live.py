"""Live sources: a thread that reads, a policy for what is not taken in time, and a way back after a loss."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

from ..errors import InvalidInput
from .adjust import Adjustment
from .base import Frame, SourceBase
from .capture import Opener
from .connection import SourceState, StateListener
from .news import News
from .options import Policy, SourceOptions
from .reader import Reader

__all__ = ["CLOSE_WAIT_S", "LiveSource"]

CLOSE_WAIT_S = 2.0
"""so long `close` waits for the thread that reads; where a device hangs, the thread is left to itself"""


class LiveSource(SourceBase):
    """Frames of a camera or a stream that survive its loss.

    A thread reads as fast as the source delivers. With the policy "latest" (the default) the newest frame is handed
    out and those before it are dropped; with "all" the thread waits once 16 frames have not been taken. Where the
    source is lost, sends nothing for `read_timeout_s`, or hangs inside its driver, it is opened again, with pauses that
    double up to `retry_most_s`, for as long as it takes; `Frame.segment` then goes up by one. Times are those of
    the stream on the clock `time.monotonic`, and always grow. Frames that were dropped keep their index.

    One iteration at a time. `close` may be called from any thread and ends it.

    Args:
        opener: makes a connection.
        name: for messages; no user, password or token in it.
        options: see there.
        policy: what None in the options means.
        on_state: see there; from here on it also hears what happens before the constructor returns.

    Raises on construction what the first opening raises (SourceLost, BackendUnavailable, InvalidInput), unless
    `options.wait` is set: then only what no waiting mends. The iteration raises SourceLost where a source with an end,
    such as a file behind a URL, breaks off; any other loss it outlasts. The times of a source with an end are its own.
    """

    def __init__(
        self,
        opener: Opener,
        name: str,
        options: SourceOptions | None = None,
        policy: Policy = "latest",
        on_state: StateListener | None = None,
    ) -> None:
        self.name = name
        self.options = options if options is not None else SourceOptions()
        if not isinstance(self.options, SourceOptions):
            raise InvalidInput(f"options: expected SourceOptions, got {type(options).__name__}")
        self._adjust = Adjustment(self.options).apply
        self._reader = Reader(opener, name, self.options, self.options.policy or policy, News(name, on_state))
        # Where this object is forgotten: the reader's thread does not know it.
        weakref.finalize(self, self._reader.stop, CLOSE_WAIT_S).atexit = False
        try:
            self._reader.start()
        except BaseException:
            self.close()
            raise

    @property
    def live(self) -> bool:
        """Whether it has no end, and its times are those of time.monotonic()."""
        return self._reader.live

    @property
    def state(self) -> SourceState:
        return self._reader.now()[0]

    @property
    def reason(self) -> str | None:
        """Why it is lost, reconnecting, still opening or closed; None where there is nothing to tell."""
        return self._reader.now()[1]

    @property
    def on_state(self) -> StateListener | None:
        """Called with the state and the reason at every change of either, from a thread of the source's; what it
        raises is logged."""
        return self._reader.news.on_state

    @on_state.setter
    def on_state(self, callback: StateListener | None) -> None:
        self._reader.news.on_state = callback

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many frames were not handed out, by reason: "superseded" (a newer one came before it was taken), "rate"
        (beyond `options.fps`), "damaged" (it could not be decoded)."""
        return self._reader.drops.counts()

    @property
    def fps(self) -> float | None:
        """Frames a second that came lately; before the second frame what the source declares, or None."""
        return self._reader.fps()

    def __iter__(self) -> Iterator[Frame]:
        reader = self._reader
        while (taken := reader.take()) is not None:
            try:
                image = self._adjust(taken.shot.image())
            except InvalidInput:  # a picture that cannot be converted
                reader.drops.add("damaged")
                continue
            yield Frame(image, taken.timestamp_s, taken.index, segment=taken.segment)

    def close(self) -> None:
        self._reader.stop(CLOSE_WAIT_S)
