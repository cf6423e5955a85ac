"""The thread behind a live source, and the watchdog over it."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from .._util.uris import without_credentials
from ..errors import AUNetError, BackendUnavailable, InvalidInput, SourceLost
from .adjust import RateLimit
from .capture import HANG_MARGIN_S, Capture, Drops, Opener, Pulse, Shot, Taken
from .clock import StreamClock
from .connection import Connection, SourceState
from .news import News
from .options import Policy, SourceOptions

__all__ = ["QUEUE_FRAMES", "Reader"]

log = logging.getLogger(__name__)

QUEUE_FRAMES = 16
"""with the policy `all` so many frames wait at most"""
MOST_STUCK = 3
"""so many threads that are stuck in a driver are left behind before no further attempt is made"""
STUCK_PAUSE_S = 1.0
EXIT_WAIT_S = 10.0
"""so long the end of the program waits for threads that are inside a decoder or a driver"""


class Reader:
    """Opens, reads, pauses and opens again, in a thread. Whoever waits in `take` watches that this thread does not
    hang; one that does is left behind, and another takes its place.

    Args: see LiveSource.
    """

    def __init__(self, opener: Opener, name: str, options: SourceOptions, policy: Policy, news: News) -> None:
        self.news = news
        self.drops = Drops()
        self.live = True
        self._opener, self._name, self._options = opener, name, options
        self._newest_only = policy == "latest"
        self._connection = Connection(options.retry_first_s, options.retry_most_s)
        self._clock = StreamClock()
        self._rate = RateLimit(options.fps)
        self._change = threading.Condition()  # reentrant: the garbage collector may run `stop` in any thread
        self._ready: deque[Taken] = deque()
        self._arrivals: deque[float] = deque(maxlen=64)
        self._declared_fps: float | None = None
        self._index = 0
        self._taking = self._opened = False
        self._error: BaseException | None = None
        self._generation = 0
        self._pulse = Pulse(self.drops)
        self._threads: list[threading.Thread] = []
        _readers.add(self)

    def start(self) -> None:
        """Begin to read. Without `options.wait` it returns when the source is open, and raises why it cannot be."""
        with self._change:
            self._begin(0.0)
        if not self._options.wait:
            self._wait_for(lambda: self._opened)
            if not self._opened:
                self._raise_error()

    def take(self) -> Taken | None:
        """The next frame, as soon as there is one; None at the end. Raises, once, the error that ended the source."""
        self._taking = True
        self._wait_for(lambda: bool(self._ready))
        with self._change:
            if self._ready:
                self._change.notify_all()
                return self._ready.popleft()
        self._raise_error()
        return None

    def now(self) -> tuple[SourceState, str | None]:
        """State and reason."""
        with self._change:
            return self._connection.state, self._connection.reason

    def fps(self) -> float | None:
        with self._change:
            if len(self._arrivals) > 1 and self._arrivals[-1] > self._arrivals[0]:
                return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])
            return self._declared_fps

    def stop(self, wait_s: float) -> None:
        """End the source, forget the frames that wait, and wait for its threads. May be called again."""
        with self._change:
            self._generation += 1
            self._ready.clear()
            self._connection.close()
            self._changed()
            threads = list(self._threads)
        self.news.tell()
        until_s = time.monotonic() + wait_s
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until_s - time.monotonic()))

    # The caller's side, which is the watchdog's, too.

    def _wait_for(self, wanted: Callable[[], bool]) -> None:
        """Until that is so, or the source is closed."""
        while True:
            with self._change:
                left_s = self._pulse.left_s()
                while not (wanted() or self._is_closed) and (left_s is None or left_s > 0):
                    self._change.wait(left_s)
                    left_s = self._pulse.left_s()
                if wanted() or self._is_closed:
                    return
                self._give_up_on_thread()
            self.news.tell()

    def _give_up_on_thread(self) -> None:
        self._generation += 1
        what = "does not return from a read" if self._connection.state is SourceState.RUNNING else "does not answer"
        error = SourceLost(f"{self._name} {what}: its driver or library hangs; look after the device or the server")
        pause_s = self._lost(error)
        if not self._is_closed:
            self._begin(pause_s)

    def _begin(self, pause_s: float) -> None:
        """A new thread, whose first attempt comes after a pause."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._pulse = Pulse(self.drops)
        arguments = (self._generation, self._pulse, pause_s)
        thread = threading.Thread(target=self._work, args=arguments, name="aunet-source", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # The thread's side. One whose generation has passed has been left behind.

    def _work(self, generation: int, pulse: Pulse, pause_s: float) -> None:
        try:
            while self._rest(generation, pulse, pause_s):
                try:
                    self._once(generation, pulse)
                except Exception as error:
                    with self._change:
                        if self._is_current(generation):
                            pause_s = self._lost(error)
                    self.news.tell()
        except BaseException as error:
            with self._change:
                if self._is_current(generation):
                    self._finish(error)
            self.news.tell()

    def _rest(self, generation: int, pulse: Pulse, pause_s: float) -> bool:
        """Pause before an attempt; whether this thread is to make it."""
        pulse.expect(None)
        until_s = time.monotonic() + pause_s
        with self._change:
            while self._is_current(generation):
                stuck = sum(thread.is_alive() for thread in self._threads) - 1
                left_s = STUCK_PAUSE_S if stuck >= MOST_STUCK else until_s - time.monotonic()
                if left_s <= 0:
                    self._connection.attempting()
                    self._changed()
                    break
                self._change.wait(left_s)
            wanted = self._is_current(generation)
        self.news.tell()
        return wanted

    def _once(self, generation: int, pulse: Pulse) -> None:
        """One connection, from its opening to the source's end. Raises AUNetError where it is lost."""
        pulse.expect(2 * self._options.open_timeout_s + HANG_MARGIN_S)
        capture = self._opener()
        try:
            with self._change:
                if not self._is_current(generation):
                    return
                pulse.expect(2 * self._options.open_timeout_s + HANG_MARGIN_S)
                self._declared_fps, self._opened, self.live = capture.fps, True, not capture.ends
                self._clock.restart()
                self._rate.restart()
                self._change.notify_all()
            error = self._read(capture, generation, pulse)
            with self._change:
                if self._is_current(generation):
                    self._finish(error, "it is at its end")
            self.news.tell()
        finally:
            _close(capture, self._name)

    def _read(self, capture: Capture, generation: int, pulse: Pulse) -> SourceLost | None:
        """All shots of a connection. Returns what went wrong where the source has an end; else raises it."""
        try:
            for shot in capture.shots(pulse):
                if not self._put(shot, generation, pulse):
                    return None
        except SourceLost as error:
            if capture.ends:
                return error
            raise
        if not capture.ends:
            raise SourceLost(f"{self._name} was lost: the other side ended the stream")
        return None

    def _put(self, shot: Shot, generation: int, pulse: Pulse) -> bool:
        """Hand a shot on; whether more are wanted of this thread."""
        with self._change:
            if not self._is_current(generation):
                return False
            self._connection.delivered(time.monotonic())
            self._changed()
            self._arrivals.append(shot.arrived_s)
            time_s = self._clock.time_s(shot.stream_s, shot.arrived_s, own=not self.live)
            taken = Taken(shot, time_s, self._index, self._connection.segment)
            self._index += 1
            if not self._rate.keeps(time_s):
                self.drops.add("rate")
            elif self._newest_only:
                if self._ready and self._taking:
                    self.drops.add("superseded")
                self._ready.clear()
                self._ready.append(taken)
            else:
                while len(self._ready) >= QUEUE_FRAMES and self._is_current(generation):
                    pulse.expect(None)
                    self._change.wait()
                if self._is_current(generation):
                    self._ready.append(taken)
            wanted = self._is_current(generation)
        self.news.tell()
        return wanted

    # Both sides; `_change` is held.

    @property
    def _is_closed(self) -> bool:
        return self._connection.state is SourceState.CLOSED

    def _is_current(self, generation: int) -> bool:
        return generation == self._generation and not self._is_closed

    def _lost(self, error: Exception) -> float:
        """Note a loss, or an attempt in vain; returns the pause before the next attempt. What a library raises that
        nobody foresaw is a loss, too: a machine without a hand on it goes on."""
        for_good = isinstance(error, (BackendUnavailable, InvalidInput))
        if not self._opened and (for_good or not self._options.wait):
            self._finish(error)
            return 0.0
        self._arrivals.clear()
        told = str(error) if isinstance(error, AUNetError) else f"{self._name} failed: {type(error).__name__}: {error}"
        reason = without_credentials(told).removeprefix(f"{self._name} ")
        pause_s = self._connection.failed(reason, time.monotonic())
        self._changed()
        return pause_s

    def _finish(self, error: BaseException | None, reason: str | None = None) -> None:
        """The source's own end. What waits is still handed out."""
        self._error = error
        self._connection.close(reason if error is None else without_credentials(str(error)))
        self._changed()

    def _changed(self) -> None:
        self.news.note(self._connection.state, self._connection.reason)
        self._change.notify_all()


def _close(capture: Capture, name: str) -> None:
    try:
        capture.close()
    except Exception as error:
        log.warning("%s: closing it failed: %s", name, without_credentials(str(error)))


_readers: weakref.WeakSet[Reader] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """No thread may be inside a decoder while Python goes down."""
    until_s = time.monotonic() + EXIT_WAIT_S
    readers = list(_readers)
    for reader in readers:
        reader.stop(0)
    for reader in readers:
        reader.stop(max(0.0, until_s - time.monotonic()))
