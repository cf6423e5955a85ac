"""Detector: pictures, videos and streams in; faces with Action Units out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from os import PathLike
from types import TracebackType
from typing import SupportsIndex

import numpy as np

from .bundle import Bundle
from .engines import open_engine
from .errors import AUNetError, InvalidInput, SourceLost
from .faces.finders.base import LONGER_SIDE_PX
from .faces.finders.choice import open_finder
from .faces.tracker import Tracker
from .options import DetectorOptions, LookAhead
from .pipeline.crop_inference import FaceNetwork
from .pipeline.session import Selection, Session
from .post.baseline import RestingFaces
from .results import FrameResult
from .sources import Frame, Source, VideoFile, as_bgr, open_source

STILL_LONGER_SIDE_PX = 640
"""a single picture is searched at this size, for small faces"""


class Detector:
    """Finds the faces in pictures or video, follows them, and gives the probability of every Action Unit.

    One detector serves one caller at a time; calls from several threads wait for each other. `push` and `flush` share
    one stream of frames; `detect`, every `detect_video` and every `stream` have one of their own and do not disturb
    it.

    `Face.score` is the geometric mean of the finder's last score, halved for every second that the finder has looked
    without seeing the face, and of the mean landmark confidence.

    Raises InvalidInput (options that the bundle cannot serve), ModelError (no usable bundle), BackendUnavailable (no
    engine or finder) on construction; AUNetError from every method after `close`.
    """

    def __init__(self, options: DetectorOptions | None = None) -> None:
        self.options = options if options is not None else DetectorOptions()
        if not isinstance(self.options, DetectorOptions):
            raise InvalidInput(f"options: expected DetectorOptions, got {type(options).__name__}")
        bundle = Bundle.load(self.options.model)
        self._selection = _select(bundle, self.options)
        self.finder = open_finder(self.options.finder, self.options.finder_model)
        self.engine = open_engine(
            bundle,
            self.options.engine,
            max_faces=self.options.max_faces,
            threads=self.options.threads,
            options=self.options.engine_options,
        )
        self._network = FaceNetwork(self.engine)
        self._lock = threading.RLock()
        self._closed = False
        self._left_out = 0
        self._session = self._new_session(self.options.look_ahead)
        self._index = 0

    @property
    def bundle(self) -> Bundle:
        """The model and its contract."""
        return self._network.bundle

    @property
    def au_names(self) -> tuple[str, ...]:
        """The AUs of every result, ascending."""
        return self._selection.names

    @property
    def thresholds(self) -> Mapping[str, float]:
        """From which probability on each of `au_names` counts as active."""
        chosen = self._selection
        return {name: float(value) for name, value in zip(chosen.names, chosen.thresholds, strict=True)}

    @property
    def faces_left_out(self) -> int:
        """How often a face that the finder saw in the stream of `push` was not followed, because of `max_faces`."""
        return self._left_out + self._session.tracker.left_out

    def detect(self, image: np.ndarray) -> FrameResult:
        """The faces of one picture, without a memory: index 0, time 0, context "none", ids from 1, largest faces
        first kept.

        Args:
            image: uint8 (H, W, 3) BGR; grey, BGRA and uint16 are converted, see `sources.as_bgr`. A picture smaller
                than `min_face_px` has no face.

        Raises InvalidInput for anything else.
        """
        picture = as_bgr(image)
        with self._lock:
            self._check_open()
            session = self._new_session("none", STILL_LONGER_SIDE_PX)
            return session.push(picture, 0.0, 0)[0]

    def detect_video(self, path: str | PathLike[str]) -> Iterator[FrameResult]:
        """The results of all frames of a video file, in order, each with both neighbours in time where they exist.

        The same as `push` with look_ahead "full" on every frame and then `flush`. Where the file breaks off, the
        results of all good frames come before SourceLost is raised. Raises InvalidInput at once where it is no video.
        """
        self._check_open()
        return self._run(VideoFile(path), self._new_session("full"))

    def push(self, image: np.ndarray, timestamp_s: float) -> list[FrameResult]:
        """Take in the next frame of your own loop; returns whatever results are ready, in frame order.

        Args:
            image: as for `detect`.
            timestamp_s: seconds on a clock of your choice, larger than that of the frame before.

        With look_ahead "full" the result of a frame comes with the first frame that is `bundle.interval_s` later,
        with "none" at once; with "both" a provisional one at once and the final one later. Every frame has a result,
        also without faces; `index` counts the pushes from 0.

        Raises InvalidInput for a wrong image or time; nothing has changed then, and the next frame may come. After an
        error of the finder or the engine the frame has no result and no index: it may be pushed again, or the next
        may come, and what was due comes with it.
        """
        picture = as_bgr(image)
        time_s = _checked_time(timestamp_s)
        with self._lock:
            self._check_open()
            results = self._session.push(picture, time_s, self._index)
            self._index += 1
            return results

    def flush(self) -> list[FrameResult]:
        """The results that still waited for a later frame. The next `push` begins a new stream: index 0, ids from 1.

        After an error of the engine everything is as before: `flush` again, or go on with `push`.
        """
        with self._lock:
            self._check_open()
            results = self._session.flush()
            self._left_out += self._session.tracker.left_out
            self._session = self._new_session(self.options.look_ahead)
            self._index = 0
            return results

    def stream(self, source: SupportsIndex | str | PathLike[str] | Iterable[Frame]) -> Iterator[FrameResult]:
        """Results from a camera (its number), a file, a folder of pictures, or any iterable of Frame, as they become
        ready with `options.look_ahead`, and those that are left when the source ends. The pictures of a folder are
        taken for the frames of a video at 25 fps; `aunet_sdk.sources.ImageFolder` takes another rate.

        A source that is opened here is closed at the end, also where the iteration is given up. Raises InvalidInput at
        once for a path that cannot be read; SourceLost where the source stops to deliver, and InvalidInput for a frame
        with a wrong image or time, both after the results that were left.
        """
        self._check_open()
        opened = open_source(source) if isinstance(source, (SupportsIndex, str, PathLike)) else source
        return self._run(opened, self._new_session(self.options.look_ahead), close=opened is not source)

    def close(self) -> None:
        """Give back the engine. Results that still waited are lost: `flush` first. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, source: Iterable[Frame] | Source, session: Session, close: bool = True) -> Iterator[FrameResult]:
        frames = iter(source)
        wrong: SourceLost | InvalidInput | None = None
        try:
            while True:
                start_s = time.perf_counter()
                try:
                    frame = next(frames, None)
                    if frame is None:
                        break
                    decode_ms = 1e3 * (time.perf_counter() - start_s)
                    picture, time_s = as_bgr(frame.image), _checked_time(frame.timestamp_s)
                    with self._lock:
                        self._check_open()
                        results = session.push(picture, time_s, frame.index, decode_ms)
                except (SourceLost, InvalidInput) as error:
                    wrong = error
                    break
                yield from results
            with self._lock:
                self._check_open()
                results = session.flush()
            yield from results
            if wrong is not None:
                raise wrong
        finally:
            if close and isinstance(source, Source):
                source.close()

    def _new_session(self, look_ahead: LookAhead, longer_side_px: int = LONGER_SIDE_PX) -> Session:
        options = self.options
        tracker = Tracker(self.bundle.min_confidence, options.detect_interval_s, options.max_faces, options.min_face_px)
        resting = RestingFaces(self._selection.thresholds) if options.baseline == "person" else None
        return Session(self._network, self.finder, tracker, look_ahead, self._selection, longer_side_px, resting)

    def _check_open(self) -> None:
        if self._closed:
            raise AUNetError("this Detector is closed; make a new one")


def _checked_time(timestamp_s: object) -> float:
    if not isinstance(timestamp_s, Real) or isinstance(timestamp_s, bool) or not math.isfinite(timestamp_s):
        raise InvalidInput(f"timestamp_s: expected a finite number of seconds, got {timestamp_s!r}")
    return float(timestamp_s)


def _select(bundle: Bundle, options: DetectorOptions) -> Selection:
    """The AUs and thresholds that the options ask for. Raises InvalidInput for an AU that the bundle does not have."""
    names = bundle.au_names
    wanted = options.aus if options.aus is not None else names
    given = options.thresholds if isinstance(options.thresholds, Mapping) else {}
    for name in (*wanted, *given):
        if name not in names:
            raise InvalidInput(f"expected AUs of the bundle {bundle.name} ({', '.join(names)}), got {name}")
    thresholds = dict(zip(names, bundle.thresholds, strict=True))
    if isinstance(options.thresholds, Real):
        thresholds = dict.fromkeys(names, float(options.thresholds))
    thresholds.update(given)
    columns = [names.index(name) for name in wanted]
    return Selection(np.array(columns, np.intp), tuple(wanted), np.array([thresholds[n] for n in wanted], np.float32))
