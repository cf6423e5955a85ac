"""One source on its way: frames through a stream of the detector, results and events to the outputs, in one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput
from ..post.events import AUEvent, EventTracker
from .pace import Pace

if TYPE_CHECKING:
    from ..results import Face, FrameResult
    from ..sinks import Sink
    from ..sources import Frame, Source
    from ..stream import Stream

__all__ = ["Feed", "FeedReport", "SourceEvent"]

log = logging.getLogger(__name__)

LASTING_S = 10.0
"""An engine that fails on every frame of a live source for so long is not going to recover by itself."""
JOIN_S = 10.0
"""So long the end of a feed waits for the frame that is being worked on."""


@dataclass(frozen=True)
class FeedReport:
    """How a feed is doing."""

    name: str
    state: str
    """opening, running, lost, reconnecting or closed"""
    reason: str | None
    fps: float | None
    """results per second, of the last seconds"""
    age_ms: float | None
    """median time from a frame's arrival to its result's emission, of the last seconds"""
    frames: int
    results: int
    people: int
    """faces in the last result"""
    dropped: Mapping[str, int]
    """frames that have no result, by reason"""


@dataclass(frozen=True)
class SourceEvent(AUEvent):
    """An event, and where it was seen: ids are those of one source."""

    source: str = ""
    """name of the source"""


class Feed:
    """A source, its stream and its outputs. `start` begins; `stop` ends it early: what waits for a later frame is
    emitted then, too.

    Args:
        name: for messages; user, password and token in it are hidden.
        source: belongs to the feed from now on.
        stream: the same.
        outputs: get every result, event and status; they belong to the caller.
        events: arguments of EventTracker; None: no events.
        label: given to the outputs as the frame's file name where several sources share them.

    Errors: a frame of a live source that cannot be used, and an engine that fails, cost that frame and are counted. An
    engine that fails for 10 s, and every error of a source that is no live one, end the feed; `error` has it then.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        stream: Stream,
        outputs: Sequence[Sink],
        *,
        events: Mapping[str, Any] | None = None,
        thresholds: Mapping[str, float] | None = None,
        label: str | None = None,
    ) -> None:
        self.name = without_credentials(name)
        self.source = source
        self.outputs = outputs
        self.paused = False
        self.error: BaseException | None = None
        self._stream = stream
        self._label = label
        self._stated = hasattr(source, "state")
        self._live = bool(getattr(source, "live", self._stated))
        self._tracker = EventTracker(**events) if events is not None else None
        self._thresholds = thresholds
        self._changed: Mapping[str, float] | None = None
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"aunet-feed-{self.name}", daemon=True)
        self._pictures: deque[tuple[int, Any, str | None, float]] = deque()
        self._pace = Pace()
        self._own_dropped: Counter[str] = Counter()
        self._frames = self._results = 0
        self._ids: list[int] = []
        self._failing_since_s: float | None = None
        self.busy_since_s: float | None = None
        """since when (monotonic) the frame that is there now has been worked on; None: it waits for one"""

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it has come."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """End as soon as the present frame is done. Returns when everything is emitted, or after 10 s."""
        self._stopping.set()
        self.source.close()
        if self._thread.ident is None:
            self._stream.close()
            self._ended.set()
        elif self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)
            if self._thread.is_alive():
                log.error(
                    "%s: the frame that is being worked on takes longer than %g s; it is given up", self.name, JOIN_S
                )

    def use_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """From the next result on: from which probability on an AU, by name, is active and has an event."""
        self._changed = dict(thresholds)

    def calibrate(self, face: int | None) -> None:
        """See `LiveRunner.calibrate`."""
        errors = []
        ids = [face] if face is not None else self._ids
        for face_id in ids:
            try:
                self._stream.calibrate(face_id)
            except InvalidInput as error:
                errors.append(error)
        if not ids:
            raise InvalidInput(f"calibrate: expected somebody in front of {self.name}, got nobody")
        if len(errors) == len(ids):
            raise errors[0]

    def report(self) -> FeedReport:
        """How it is doing; may be called from any thread."""
        dropped: Counter[str] = Counter(getattr(self.source, "dropped", {}))
        dropped.update(dict(self._own_dropped))
        state, reason = self._state()
        return FeedReport(
            self.name,
            state,
            reason,
            self._pace.fps(),
            self._pace.age_ms(),
            self._frames,
            self._results,
            len(self._ids),
            dropped,
        )

    def _state(self) -> tuple[str, str | None]:
        if self.ended:
            return "closed", None if self.error is None else without_credentials(str(self.error))
        if self._stated:
            state = self.source.state  # type: ignore[attr-defined]
            return str(getattr(state, "value", state)), getattr(self.source, "reason", None)
        return ("running" if self._frames else "opening"), None

    def _run(self) -> None:
        try:
            try:
                self._pump()
            except BaseException as error:
                self.error = error
            self._drain()
        finally:
            for close in (self.source.close, self._stream.close):
                try:
                    close()
                except Exception as error:
                    log.warning("%s: %s", self.name, error)
            self._pictures.clear()
            self._ended.set()

    def _pump(self) -> None:
        for frame in self.source:
            if self._stopping.is_set():
                break
            self._frames += 1
            if self.paused:
                self._own_dropped["paused"] += 1
                continue
            self.busy_since_s = now_s = time.monotonic()
            try:
                self._take(frame, now_s)
            finally:
                self.busy_since_s = None

    def _take(self, frame: Frame, now_s: float) -> None:
        self._pictures.append((frame.index, frame.image, frame.path.name if frame.path else self._label, now_s))
        try:
            results = self._stream.push_frame(frame)
        except AUNetError as error:
            self._pictures.pop()
            if not self._live:
                raise
            if not isinstance(error, InvalidInput):
                if self._failing_since_s is None:
                    log.warning("%s: a frame has no result: %s", self.name, error)
                    self._failing_since_s = now_s
                elif now_s - self._failing_since_s > LASTING_S:
                    raise
            self._own_dropped["error"] += 1
            return
        self._failing_since_s = None
        for result in results:
            self._emit(result)

    def _drain(self) -> None:
        """What waited for a later frame."""
        try:
            for result in self._stream.flush():
                self._emit(result)
        except BaseException as error:
            log.warning("%s: frames that were read have no result: %s", self.name, error)
            self.error = self.error or error
        if self._tracker is not None:
            self._send(self._tracker.flush())

    def _emit(self, result: FrameResult) -> None:
        image, file, came_s = self._picture_of(result)
        if self._changed is not None:
            self._thresholds, self._changed = self._changed, None
        if self._thresholds is not None:
            result = _with_thresholds(result, self._thresholds)
        for sink in self.outputs:
            sink.put(result, image, file)
        self._results += 1
        self._ids = [face.id for face in result.faces]
        self._pace.add(time.monotonic(), came_s)
        if self._tracker is not None and not result.provisional:
            self._send(self._tracker.update(result))

    def _send(self, events: Sequence[AUEvent]) -> None:
        for event in events:
            named = SourceEvent(**{each.name: getattr(event, each.name) for each in fields(event)}, source=self.name)
            for sink in self.outputs:
                sink.event(named)

    def _picture_of(self, result: FrameResult) -> tuple[np.ndarray | None, str | None, float | None]:
        """Its picture, file name and time of arrival; those of earlier frames are forgotten."""
        kept = self._pictures
        while kept and kept[0][0] < result.index:
            if result.provisional:
                break
            kept.popleft()
        for index, image, file, came_s in kept:
            if index == result.index:
                if not result.provisional:
                    kept.popleft()
                return image, file, came_s
        return None, self._label, None


def _with_thresholds(result: FrameResult, thresholds: Mapping[str, float]) -> FrameResult:
    """The result with AUs active by these thresholds; those that are not named keep theirs."""

    def again(face: Face) -> Face:
        before = face.thresholds if face.thresholds is not None else np.full(len(face.au_names), 0.5, np.float32)
        limits = np.array(
            [thresholds.get(name, limit) for name, limit in zip(face.au_names, before, strict=True)], np.float32
        )
        return replace(face, active=face.probabilities >= limits, thresholds=limits)

    return replace(result, faces=tuple(map(again, result.faces))) if result.faces else result
