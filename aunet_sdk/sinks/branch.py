"""One sink behind a bounded queue and a thread of its own: whoever hands over does not feel what the sink does."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput, OutputLost
from .base import Sink

__all__ = ["Branch", "Limits", "Parcel", "Policy"]

log = logging.getLogger(__name__)

Policy = Literal["drop-oldest", "wait"]


@dataclass(frozen=True)
class Limits:
    """How much waits before a sink, and for how long. `FanOut` explains the fields. Raises InvalidInput for numbers
    outside their range."""

    policy: Policy = "drop-oldest"
    capacity: int = 256
    most_bytes: int = 64 << 20
    stall_s: float = 30.0
    end_s: float = 10.0
    backoff_s: tuple[float, float] = (0.5, 30.0)

    def __post_init__(self) -> None:
        if self.policy not in ("drop-oldest", "wait"):
            raise InvalidInput(f"policy: expected drop-oldest or wait, got {self.policy!r}")
        for name in ("capacity", "most_bytes"):
            if not getattr(self, name) >= 1:
                raise InvalidInput(f"{name}: expected at least 1, got {getattr(self, name)!r}")
        if not 0 < self.backoff_s[0] <= self.backoff_s[1]:
            raise InvalidInput(f"backoff_s: expected (first, longest) above 0, ascending, got {self.backoff_s!r}")
        for name in ("stall_s", "end_s"):
            if not getattr(self, name) >= 0:
                raise InvalidInput(f"{name}: expected seconds, at least 0, got {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class Parcel:
    """What is handed to the sink, as a call."""

    deliver: Callable[[Sink], object]
    is_frame: bool
    n_bytes: int = 0
    """of its picture"""
    given_up: Callable[[], object] | None = None
    """is called where it will not be delivered, which then counts as nothing dropped"""


class Branch:
    """Parcels go to one sink in their order, in a thread that this owns; so does closing the sink.

    A parcel that finds the queue full pushes out the oldest frame (events and statuses are rarer, and go last), or,
    with the policy "wait", waits. `name` stands in the log.
    """

    def __init__(self, name: str, sink: Sink, limits: Limits) -> None:
        self.name = name
        self.sink = sink
        self.failed: str | None = None
        """why the sink was set aside; None: it was not"""
        self._limits = limits
        self._dropped = 0
        self._trouble: str | None = None
        self._queue: deque[Parcel] = deque()
        self._bytes = 0
        self._busy_since_s: float | None = None
        self._progress_s = time.monotonic()
        self._ending = self._given_up = self._told_drops = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"aunet-sink-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """What was handed over and did not reach the sink, and what the sink itself left out."""
        return self._dropped + self.sink.left_out

    @property
    def trouble(self) -> str | None:
        """Why nothing goes through at the moment, where that may pass."""
        return self._trouble or self.sink.trouble or (self._stalled() and "takes nothing") or None

    def offer(self, parcel: Parcel) -> None:
        """Queue it, for as long as the sink was not set aside."""
        with self._changed:
            if self._limits.policy == "wait":
                while self._full(parcel) and self._worth_waiting():
                    self._changed.wait(0.5)
            if self._ending or self.failed is not None:
                self._drop(parcel)
                return
            while self._queue and self._full(parcel):
                self._push_out()
            self._queue.append(parcel)
            self._bytes += parcel.n_bytes
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until what was handed over so far is delivered, and flush the sink; not for a sink in trouble, and at
        most `end_s`."""
        done = threading.Event()

        def flush(sink: Sink) -> None:
            sink.flush()
            done.set()

        self.offer(Parcel(flush, is_frame=False, given_up=done.set))
        until_s = time.monotonic() + self._limits.end_s
        while not done.wait(0.05) and time.monotonic() < until_s and self._trouble is None:
            pass

    def end(self) -> None:
        """Deliver what waits, then close the sink. With "drop-oldest" it takes `end_s` at most; with "wait" it may take
        longer, as long as the sink takes something every `end_s`. What is left then is counted as dropped, and the
        sink as failed. May be called twice."""
        start_s = time.monotonic()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is threading.current_thread():  # a callback that removes itself
            return
        while self._thread.is_alive():
            since_s = max(start_s, self._progress_s) if self._limits.policy == "wait" else start_s
            left_s = since_s + self._limits.end_s - time.monotonic()
            if left_s <= 0:
                self._set_aside(f"did not end within {self._limits.end_s:g} s")
                return
            self._thread.join(left_s)

    # In the branch's own thread

    def _run(self) -> None:
        while (parcel := self._next()) is not None:
            if not self._deliver(parcel):
                break
        self._close()

    def _next(self) -> Parcel | None:
        with self._changed:
            while not self._queue and not self._ending:
                self._changed.wait()
            if not self._queue or self._given_up:
                return None
            parcel = self._queue.popleft()
            self._bytes -= parcel.n_bytes
            self._busy_since_s = time.monotonic()
            self._changed.notify_all()
            return parcel

    def _deliver(self, parcel: Parcel) -> bool:
        """Whether the branch goes on. A lost output is tried again and again where that makes sense."""
        pause_s = self._limits.backoff_s[0]
        while True:
            try:
                parcel.deliver(self.sink)
            except OutputLost as error:
                if not self.sink.retries or self._ending:
                    self._drop(parcel)
                    self._set_aside(str(error))
                    return False
                self._tell(str(error), again=True)
                with self._changed:
                    self._busy_since_s = None
                    self._changed.wait_for(lambda: self._ending, pause_s)
                    self._busy_since_s = time.monotonic()
                pause_s = min(2 * pause_s, self._limits.backoff_s[1])
                continue
            except (Exception, SystemExit) as error:  # of this one alone, or of a callback; the next may go through
                self._drop(parcel)
                self._tell(f"{error if isinstance(error, AUNetError) else repr(error)}", error)
            else:
                self._recover()
            with self._changed:
                self._busy_since_s, self._progress_s = None, time.monotonic()
                self._changed.notify_all()
            return not self._given_up

    def _close(self) -> None:
        try:
            if self.failed is None:
                self.sink.close()
            else:
                self.sink.abandon()
        except (Exception, SystemExit) as error:
            if self.failed is None:
                self._set_aside(str(error))
            else:
                log.debug("sink %s: %s", self.name, without_credentials(repr(error)))

    def _tell(self, reason: str, error: BaseException | None = None, *, again: bool = False) -> None:
        """Say it once, until it is well again."""
        if self._trouble is None:
            what = "trying again" if again else "left out what it did not take"
            log.warning("sink %s: %s; %s", self.name, reason, what)
            if error is not None and not isinstance(error, AUNetError):
                log.debug("sink %s: %s", self.name, without_credentials(repr(error)))
        self._trouble = reason

    def _recover(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.warning("sink %s: goes on; %d were dropped so far", self.name, self.dropped)

    # In any thread

    def _set_aside(self, reason: str) -> None:
        with self._changed:
            self._given_up = True
            if self.failed is None:
                self.failed, self._trouble = reason, None
                self._told_drops = True
                while self._queue:
                    self._push_out()
                log.error("sink %s: %s; it gets nothing more, and the others go on", self.name, reason)
            self._changed.notify_all()

    def _full(self, parcel: Parcel) -> bool:
        """Where pictures wait, one is always let in, however large."""
        return bool(self._queue) and (
            len(self._queue) >= self._limits.capacity
            or (parcel.n_bytes > 0 and self._bytes > 0 and self._bytes + parcel.n_bytes > self._limits.most_bytes)
        )

    def _worth_waiting(self) -> bool:
        return not (self._ending or self.failed or self._trouble or self.sink.trouble or self._stalled())

    def _stalled(self) -> bool:
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s > self._limits.stall_s

    def _push_out(self) -> None:
        at = next((i for i, parcel in enumerate(self._queue) if parcel.is_frame), 0)
        parcel = self._queue[at]
        del self._queue[at]
        self._bytes -= parcel.n_bytes
        self._drop(parcel)
        if not self._told_drops:
            self._told_drops = True
            log.warning("sink %s: slower than the results come; some are dropped, and counted", self.name)

    def _drop(self, parcel: Parcel) -> None:
        if parcel.given_up is not None:
            parcel.given_up()
        else:
            self._dropped += 1
