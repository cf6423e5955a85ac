"""LiveRunner: any number of sources on one detector, each in a thread of its own, and a status every second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput
from ..options import LookAhead
from ..sinks.message import status_message
from .feed import Feed, FeedReport

if TYPE_CHECKING:
    from ..detector import Detector
    from ..sinks import Sink
    from ..sources import Source

__all__ = ["LiveRunner"]

log = logging.getLogger(__name__)

STATUS_S = 1.0
"""How often the sinks get a status."""


class LiveRunner:
    """Sources in, results, events and statuses out, until the sources end or `stop`.

    Args:
        detector: belongs to the caller. Every source has a stream of its own on it, with ids of its own; frames that
            come at the same time go through the network in one batch.
        outputs: get the results of every source, such as one FanOut; they belong to the caller. They have to stand
            `put` from several threads, and shall not wait for anybody: a slow one slows its source down.
        look_ahead: of every stream; None: that of the detector's options.
        events: arguments of `post.events.EventTracker`; None: no events.
        thresholds: from which probability on an AU is active, by name; None: as the detector says.
        on_tick: called with the reports of all feeds after each status, in the thread of `run`.
        on_end: called with every feed that has ended, when its last results are emitted.

    `add` and `remove` may be called at any time, from any thread. A source that ends by itself, or breaks, leaves the
    others alone; `errors` has what broke, by the source's name.
    """

    def __init__(
        self,
        detector: Detector,
        outputs: Sequence[Sink] = (),
        *,
        look_ahead: LookAhead | None = None,
        events: Mapping[str, Any] | None = None,
        thresholds: Mapping[str, float] | None = None,
        on_tick: Callable[[Sequence[FeedReport]], object] | None = None,
        on_end: Callable[[Feed], object] | None = None,
    ) -> None:
        self.detector = detector
        self.outputs = list(outputs)
        self.errors: dict[str, BaseException] = {}
        self.on_tick, self.on_end = on_tick, on_end
        self.ticked_s: float | None = None
        """when (monotonic) the loop of `run` last came by; None before"""
        self._look_ahead = look_ahead
        self._events = events
        self._thresholds = dict(thresholds) if thresholds is not None else None
        self._feeds: dict[str, Feed] = {}
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._running = self._stopping = self._paused = self._had_one = False

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """By name, those that have not been removed."""
        with self._lock:
            return dict(self._feeds)

    def add(self, name: str, source: Source, *, outputs: Sequence[Sink] = (), label: str | None = None) -> Feed:
        """One more source. It begins at once where `run` is under way, else with it.

        Args:
            name: not in use yet; user, password and token in it are hidden.
            source: any iterable of Frame with `close`; it belongs to the runner from now on.
            outputs: of this source alone, beside those of all.
            label: the name of the source in the outputs that several share.

        Raises InvalidInput for a name that is in use, AUNetError after `stop`.
        """
        name = without_credentials(name)
        with self._lock:
            if self._stopping:
                raise AUNetError("this LiveRunner was stopped; make a new one")
            if name in self._feeds:
                raise InvalidInput(f"source: expected a name that is not in use, got {name!r}; remove it first")
            stream = self.detector.open_stream(self._look_ahead, joint=True)
            feed = Feed(
                name,
                source,
                stream,
                [*self.outputs, *outputs],
                events=self._events,
                thresholds=self._feed_thresholds(),
                label=label,
            )
            feed.paused = self._paused
            self._feeds[name] = feed
            self._had_one = True
            if self._running:
                feed.start()
            self._change.notify_all()
            return feed

    def remove(self, name: str) -> Feed:
        """End a source: its last results are emitted before this returns. Raises InvalidInput for an unknown name."""
        name = without_credentials(name)
        with self._lock:
            feed = self._feeds.get(name)
            if feed is None:
                raise InvalidInput(f"source: expected one of {', '.join(self._feeds) or 'none'}, got {name!r}")
        feed.stop()
        self._settle(name, feed)
        return feed

    def use_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """From now on these hold, for the AUs that they name, the detector's for all others. Raises InvalidInput for
        an AU that the detector does not report."""
        unknown = [name for name in thresholds if name not in self.detector.au_names]
        if unknown:
            raise InvalidInput(
                f"thresholds: expected AUs of the detector ({', '.join(self.detector.au_names)}), got {unknown[0]}"
            )
        with self._lock:
            self._thresholds = dict(thresholds)
            for feed in self._feeds.values():
                feed.use_thresholds(self._feed_thresholds())

    def _feed_thresholds(self) -> dict[str, float]:
        return {**self.detector.thresholds, **(self._thresholds or {})}

    def pause(self, paused: bool = True) -> None:
        """Frames are still read, so that none grows old, but have no result until `pause(False)`; they are counted."""
        with self._lock:
            self._paused = paused
            for feed in self._feeds.values():
                feed.paused = paused

    @property
    def paused(self) -> bool:
        return self._paused

    def calibrate(self, face: int | None = None, name: str | None = None) -> int:
        """The person's face as it is now is at rest: of the face with this id, or of all faces; of this source, or of
        all. Returns how many streams took it. Raises InvalidInput where nobody is there, somebody was not watched for
        about a second, or the model reads no points at rest."""
        feeds = [feed for key, feed in self.feeds.items() if name in (None, key)]
        if not feeds:
            raise InvalidInput(f"calibrate: expected one of {', '.join(self.feeds) or 'no source'}, got {name!r}")
        for feed in feeds:
            feed.calibrate(face)
        return len(feeds)

    def run(self, duration_s: float | None = None) -> None:
        """Until every source has ended, `duration_s` are over, or `stop` is called; then everything that is due is
        emitted. With no source at all it waits for one. Whatever is raised in this thread meanwhile, such as Ctrl-C,
        ends it in the same way and is raised afterwards.
        """
        end_s = None if duration_s is None else time.monotonic() + duration_s
        with self._lock:
            self._running = True
            for feed in self._feeds.values():
                feed.start()
        try:
            next_s = time.monotonic()
            while not self._stopping:
                now_s = time.monotonic()
                if end_s is not None and now_s >= end_s:
                    break
                for name, feed in self.feeds.items():
                    if feed.ended:
                        self._settle(name, feed)
                if self._had_one and not self._feeds:
                    break
                if now_s >= next_s:
                    self._tick()
                    next_s = now_s + STATUS_S
                self._sleep(min(next_s, end_s or next_s) - time.monotonic())
        finally:
            self.stop()

    def _sleep(self, seconds: float) -> None:
        """Shorter where a feed ends, or one comes or goes."""
        until_s = time.monotonic() + seconds
        feeds = list(self.feeds.values())
        if len(feeds) == 1:  # the usual case wakes up at once when the file is over
            feeds[0].wait(max(0.0, min(seconds, 0.25)))
            return
        with self._change:
            if not self._stopping:
                self._change.wait(max(0.0, min(until_s - time.monotonic(), 0.25)))

    def _tick(self) -> None:
        self.ticked_s = time.monotonic()
        reports = self.reports()
        for report in reports:
            self._send_status(report)
        if self.on_tick is not None:
            self.on_tick(reports)

    def _send_status(self, report: FeedReport) -> None:
        feed = self._feeds.get(report.name)
        message = self.status(report)
        for sink in self.outputs if feed is None else feed.outputs:
            sink.status(message)

    def status(self, report: FeedReport) -> dict[str, Any]:
        """The message "status" (docs/messages.md) about one source, with `source`, `age_ms`, `paused` and `troubles`
        (of sinks, by name) beside."""
        dropped, troubles = dict(report.dropped), {}
        for sink in self.outputs:
            for name, count in dict(getattr(sink, "dropped", {})).items():
                if count:
                    dropped[f"sink {name}"] = count
            troubles.update({**getattr(sink, "troubles", {}), **getattr(sink, "failed", {})})
        message = status_message(
            report.state, report.reason, engine=self.detector.engine.name, fps=report.fps, dropped=dropped
        )
        message["age_ms"] = None if report.age_ms is None else round(report.age_ms, 2)
        message |= {"source": report.name, "paused": self._paused, "troubles": troubles}
        return message

    def reports(self) -> list[FeedReport]:
        """How every source is doing."""
        return [feed.report() for feed in self.feeds.values()]

    def _settle(self, name: str, feed: Feed) -> None:
        """A feed that has ended goes, and what broke it is kept."""
        with self._lock:
            if self._feeds.get(name) is not feed:
                return
            report = feed.report()
            self._send_status(report)
            del self._feeds[name]
            if feed.error is not None:
                self.errors[name] = feed.error
                log.warning("%s ended: %s", feed.name, report.reason)
            self._change.notify_all()
        if self.on_end is not None:
            self.on_end(feed)

    def stop(self) -> None:
        """End every source; what is due is emitted before this returns. May be called twice, and from any thread."""
        with self._lock:
            self._stopping = True
            self._change.notify_all()
        for name, feed in self.feeds.items():
            feed.stop()
            self._settle(name, feed)

    def __enter__(self) -> LiveRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
