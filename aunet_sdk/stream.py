"""Stream: frames of one camera or video in, results out; several of them share one detector."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from numbers import Real
from types import TracebackType
from typing import Any

import numpy as np

from .engines.base import StreamStates
from .errors import AUNetError, InvalidInput
from .pipeline.pace import Pace
from .pipeline.session import Session
from .results import FrameResult
from .sources import Frame, Source, as_bgr

__all__ = ["Stream", "results_of"]

log = logging.getLogger(__name__)

_END = object()


class Stream:
    """One stream of frames with faces, ids and neighbours in time of its own: `Detector.open_stream` makes it.

    Streams of one detector take turns: every call holds the detector's lock for as long as it computes, and the others
    wait, from whatever thread they come; joint streams share their steps instead. The frames of one stream have to come
    in order, so that one thread at a time should push to it.
    """

    def __init__(
        self,
        begin: Callable[[StreamStates | None], Session],
        lock: AbstractContextManager[Any],
        check_open: Callable[[], None],
        rate_hz: float | None = None,
    ) -> None:
        self._pace = Pace(rate_hz)
        self._begin = begin
        self._lock = lock
        self._detector_is_open = check_open
        self._closed = False
        self._session = begin(None)
        self._index = 0
        self._segment: int | None = None
        self._held: list[FrameResult] = []
        self._left_out = self._unanswered = 0

    @property
    def session(self) -> Session:
        """What has been pushed since the last flush; for measurements."""
        return self._session

    @property
    def faces_left_out(self) -> int:
        """How often a face that the finder saw was not followed, because of `max_faces`."""
        return self._left_out + self._session.tracker.left_out

    @property
    def faces_unanswered(self) -> int:
        """How often a face is missing from a frame's final result since its state was gone before the frame was due.
        It stays 0 as long as the engine has memory for what it keeps."""
        return self._unanswered + self._session.unanswered

    @property
    def frames_passed_over(self) -> int:
        """Frames that were not worked on, because of `rate_hz`."""
        return self._pace.passed_over

    def push(self, image: np.ndarray, timestamp_s: float) -> list[FrameResult]:
        """Take in the next frame; returns whatever results are ready, in frame order. See `Detector.push`."""
        picture, time_s = as_bgr(image), _checked_time(timestamp_s)
        with self._lock:
            self._check_open()
            return self._push(picture, time_s, self._index)

    def push_frame(self, frame: Frame, decode_ms: float = 0.0) -> list[FrameResult]:
        """`push` of a source's frame, whose own index the result will have; it took so long to come.

        With the first frame of another segment (the source was lost and came back) comes what still waited for a later
        frame, and all faces begin anew: no result has neighbours on both sides of a gap, and ids go on.
        """
        picture, time_s = as_bgr(frame.image), _checked_time(frame.timestamp_s)
        segment = getattr(frame, "segment", 0)
        with self._lock:
            self._check_open()
            if self._segment is not None and segment != self._segment:
                before = self._session
                self._held += before.flush()
                self._renew()
                self._session.tracker.continue_ids(before.tracker)
            self._segment = segment
            return self._push(picture, time_s, frame.index, decode_ms)

    def _push(self, picture: np.ndarray, time_s: float, index: int, decode_ms: float = 0.0) -> list[FrameResult]:
        results = self._session.push(picture, time_s, index, decode_ms) if self._pace.due(time_s) else []
        self._pace.done(time_s)
        self._index += 1
        held, self._held = self._held, []
        return held + results

    def flush(self) -> list[FrameResult]:
        """The results that still waited for a later frame. The next `push` begins a new stream: index 0, ids from 1.

        After an error of the engine everything is as before: `flush` again, or go on with `push`.
        """
        with self._lock:
            self._check_open()
            held, self._held = self._held + self._session.flush(), []
            self._renew()
            self._index, self._segment = 0, None
            return held

    def _renew(self) -> None:
        """A session without frames, in the memory of the one before."""
        self._left_out += self._session.tracker.left_out
        self._unanswered += self._session.unanswered
        self._session = self._begin(self._session.states)
        self._pace.restart()

    def calibrate(self, face_id: int) -> None:
        """Take how this face looks now for the face at rest, until the stream is flushed: ask for it while the person
        looks at the camera with a relaxed face. `DetectorOptions.neutral` says what is done without.

        Raises InvalidInput where the face was not watched for about a second, and where the model does not read the
        points at rest.
        """
        with self._lock:
            self._check_open()
            self._session.calibrate(face_id)

    def close(self) -> None:
        """Give the stream's memory back. Results that still waited are lost: `flush` first. May be called twice."""
        with self._lock:
            self._closed = True
            self._session.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        self._detector_is_open()
        if self._closed:
            raise AUNetError("this stream is closed; open another with Detector.open_stream")


def results_of(source: Iterable[Frame], stream: Stream, close: bool = True) -> Iterator[FrameResult]:
    """The results of a source's frames as they become ready, and those that are left when it ends. The stream is
    closed at the end, and the source where `close` is set.

    Whatever is raised on the way, by the source, the finder, the engine or the keyboard, the results of all frames
    that were read before come first; then it is raised. What the engine can no longer answer is logged.
    """
    error: BaseException | None = None
    try:
        try:
            frames = iter(source)
        except BaseException as caught:
            error, frames = caught, iter(())
        position = 0
        while error is None:
            start_s = time.perf_counter()
            try:
                frame = next(frames, _END)
                if frame is _END:
                    break
                results = stream.push_frame(_checked_frame(frame, position), 1e3 * (time.perf_counter() - start_s))
            except BaseException as caught:
                error = caught
                break
            position += 1
            yield from results
        try:
            results = stream.flush()
        except BaseException as second:
            if error is None:
                raise
            log.warning("%d frames that were read have no result: %s", stream.session.waiting, second)
            results = []
        yield from results
        if error is not None:
            raise error
    finally:
        stream.close()
        if close and isinstance(source, Source):
            source.close()


def _checked_frame(frame: object, position: int) -> Frame:
    if not all(hasattr(frame, name) for name in ("image", "timestamp_s", "index")):
        what = "a picture without its time" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InvalidInput(
            f"frames: expected aunet_sdk.Frame(image, timestamp_s, index) at position {position}, got {what}; "
            "leave frames out that failed to come, and push(image, timestamp_s) pictures of your own"
        )
    return frame  # type: ignore[return-value]  # by its attributes


def _checked_time(timestamp_s: object) -> float:
    if isinstance(timestamp_s, Real) and not isinstance(timestamp_s, bool):
        try:
            if math.isfinite(time_s := float(timestamp_s)):
                return time_s
        except OverflowError:  # a whole number beyond all floats
            timestamp_s = "a number beyond all floats"
    raise InvalidInput(f"timestamp_s: expected a finite number of seconds, got {timestamp_s!r}")
