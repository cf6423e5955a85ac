"""Detector: pictures, videos and streams in; faces with Action Units out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from types import TracebackType
from typing import SupportsIndex

import numpy as np

from .bundle import Bundle
from .engines import StreamEngine, StreamStates, open_engine
from .engines.joint import JointEngine
from .errors import AUNetError, InvalidInput
from .faces.finders.base import LONGER_SIDE_PX, FaceFinder, FoundFace
from .faces.finders.choice import open_finder
from .faces.scan import RegionScan, TwoLooks, search_px
from .faces.tracker import Tracker
from .options import DetectorOptions, LookAhead
from .pipeline.crop_inference import FaceNetwork
from .pipeline.emission import Emission, select
from .pipeline.session import Session
from .post.baseline import RestingFaces
from .post.neutral import NeutralFaces
from .post.validity import AUValidity
from .results import FrameResult
from .sources import Frame, VideoFile, as_bgr, open_source
from .stream import Stream, results_of

STILL_LONGER_SIDE_PX = 640
"""a single picture is searched at this size, and once more where smaller faces are wanted"""

_STILL_FPS = 1.0
"""of the states for single pictures, which have no neighbours"""

FinderFactory = Callable[[DetectorOptions], FaceFinder]
EngineFactory = Callable[[Bundle, DetectorOptions], StreamEngine]
NetworkFactory = Callable[[StreamEngine], FaceNetwork]


class Detector:
    """Finds the faces in pictures or video, follows them, and gives the probability of every Action Unit.

    One detector serves one caller at a time; calls from several threads wait for each other. `push` and `flush` share
    one stream of frames; `detect`, every `detect_video`, every `stream` and every `open_stream` have one of their own
    and do not disturb it, nor each other.

    `Face.score` is the geometric mean of the finder's last score, halved for every second that the finder has looked
    without seeing the face, and of the mean landmark confidence.

    Args:
        options: None: the defaults.
        finder, engine, network: functions that make parts of your own in place of those that the options name, such as
            `finder=lambda options: MyFinder()`. The detector closes the engine.

    Raises InvalidInput (options that the bundle cannot serve), ModelError (no usable bundle), BackendUnavailable (no
    engine or finder) on construction; AUNetError from every method after `close`.
    """

    def __init__(
        self,
        options: DetectorOptions | None = None,
        *,
        finder: FinderFactory | None = None,
        engine: EngineFactory | None = None,
        network: NetworkFactory = FaceNetwork,
    ) -> None:
        self.options = options if options is not None else DetectorOptions()
        if not isinstance(self.options, DetectorOptions):
            raise InvalidInput(f"options: expected DetectorOptions, got {type(options).__name__}")
        bundle = Bundle.load(self.options.model)
        self._selection = select(bundle, self.options)
        self.finder = (finder or _named_finder)(self.options)
        self.engine = (engine or _named_engine)(bundle, self.options)
        try:
            self._make_network = network
            self._network = network(self.engine)
        except BaseException:
            self.engine.close()
            raise
        self._lock = threading.RLock()
        self._closed = False
        self._joint: JointEngine | None = None
        self._still_states: StreamStates | None = None
        self._stream = self.open_stream()

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
        return self._stream.faces_left_out

    @property
    def faces_unanswered(self) -> int:
        """How often a face is missing from a final result of the stream of `push`, see `Stream.faces_unanswered`."""
        return self._stream.faces_unanswered

    @property
    def frames_passed_over(self) -> int:
        """Frames of the stream of `push` that were not worked on, because of `rate_hz`."""
        return self._stream.frames_passed_over

    def open_stream(
        self, look_ahead: LookAhead | None = None, *, joint: bool = False, origin_s: float | None = None
    ) -> Stream:
        """One more stream over this detector's engine, for another camera or video: with `push`, `flush` and `close`
        as here, and faces, ids and neighbours in time of its own. `Detector.push` is the detector's first stream.

        Args:
            look_ahead: as in DetectorOptions; None: that of the options.
            joint: for several cameras, each pushed to by a thread of its own: frames that are pushed at the same time
                go through the network in one batch. False: they take turns.
            origin_s: when the video begins of which this stream gets a later part, so that the finder looks at the same
                frames as it does in the whole video. None: with the first frame.

        A stream takes memory for its states with its first frame (docs/api.md says how much) and gives it back with
        `close`, or when nobody holds it any more. Raises InvalidInput for an unknown look_ahead.
        """
        self._check_open()
        chosen = self.options.look_ahead if look_ahead is None else look_ahead
        rate_hz = self.options.rate_hz
        if not joint:
            begin = partial(self._new_session, chosen, origin_s=origin_s)
            return Stream(begin, self._lock, self._check_open, rate_hz)
        with self._lock:
            self._joint = self._joint or JointEngine(self.engine, self._lock)
        port = self._joint.port(self.options.max_faces)
        network, finder = self._make_network(port), _OneAtATime(self.finder, self._lock)
        begin = partial(self._new_session, chosen, finder=finder, network=network, origin_s=origin_s)
        return Stream(begin, port, self._check_open, rate_hz)

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
            if self._still_states is None:
                self._still_states = self.engine.open_states(_STILL_FPS)
            side_px = search_px(picture.shape[1], picture.shape[0], self.options.min_face_px)
            finder = self.finder if side_px <= STILL_LONGER_SIDE_PX else TwoLooks(self.finder, side_px)
            session = self._new_session("none", self._still_states, finder)
            return session.push(picture, 0.0, 0)[0]

    def detect_video(self, path: str | PathLike[str]) -> Iterator[FrameResult]:
        """The results of all frames of a video file, in order, each with both neighbours in time where they exist.

        The same as `push` with look_ahead "full" on every frame and then `flush`. Where the file breaks off, the
        results of all good frames come before SourceLost is raised; the same holds for every other error, see
        `stream`. Raises InvalidInput at once where it is no video.
        """
        self._check_open()
        return results_of(VideoFile(path), self.open_stream("full"))

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
        return self._stream.push(image, timestamp_s)

    def flush(self) -> list[FrameResult]:
        """The results that still waited for a later frame. The next `push` begins a new stream: index 0, ids from 1.

        After an error of the engine everything is as before: `flush` again, or go on with `push`.
        """
        return self._stream.flush()

    def calibrate(self, face_id: int) -> None:
        """Take how this face of the stream of `push` looks now for the face at rest, see `Stream.calibrate`."""
        self._stream.calibrate(face_id)

    def stream(self, source: SupportsIndex | str | PathLike[str] | Iterable[Frame]) -> Iterator[FrameResult]:
        """Results from a camera (its number), a file, a folder of pictures, or any iterable of Frame, as they become
        ready with `options.look_ahead`, and those that are left when the source ends. The pictures of a folder are
        taken for the frames of a video at 25 fps; `aunet_sdk.sources.ImageFolder` takes another rate.

        A source that is opened here is closed at the end, also where the iteration is given up. Raises InvalidInput at
        once for a path that cannot be read, and for what is no source; SourceLost where the source stops to deliver;
        InvalidInput for a frame with a wrong image or time, and for what is no Frame, with its position. These, and
        whatever else the source or the engine raises (an OSError, Ctrl-C), come after the results of all frames that
        were read before.
        """
        self._check_open()
        opened = open_source(source) if isinstance(source, (SupportsIndex, str, PathLike)) else source
        if not isinstance(opened, Iterable):
            raise InvalidInput(
                f"source: expected a path, a camera's number or an iterable of Frame, got {type(source).__name__}"
            )
        return results_of(opened, self.open_stream(), close=opened is not source)

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

    def _new_session(
        self,
        look_ahead: LookAhead,
        states: StreamStates | None = None,
        still: FaceFinder | None = None,
        *,
        finder: FaceFinder | None = None,
        network: FaceNetwork | None = None,
        origin_s: float | None = None,
    ) -> Session:
        """still: the finder of a single picture."""
        options = self.options
        tracker = Tracker(self.bundle.min_confidence, options.detect_interval_s, options.max_faces, options.min_face_px)
        tracker.cadence.origin_s = origin_s
        resting = RestingFaces(self._selection.thresholds) if options.baseline == "person" else None
        neutral = NeutralFaces(options.neutral == "auto") if self.bundle.reference and still is None else None
        emission = Emission(
            self._selection, resting, neutral, len(self.bundle.au_numbers), options.smoothing == "one-euro"
        )
        finder = still or finder or self.finder
        side_px = STILL_LONGER_SIDE_PX if still else LONGER_SIDE_PX
        scan = None if still else RegionScan(options.min_face_px, tracker.cadence)
        validity = AUValidity(self.bundle.min_confidence) if options.validity else None
        network = network or self._network
        return Session(network, finder, tracker, look_ahead, emission, side_px, states, scan, validity, neutral)

    def _check_open(self) -> None:
        if self._closed:
            raise AUNetError("this Detector is closed; make a new one")


class _OneAtATime:
    """A finder that several threads share."""

    def __init__(self, finder: FaceFinder, lock: threading.RLock) -> None:
        self.name, self._finder, self._lock = finder.name, finder, lock

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        with self._lock:
            return self._finder.find(image, longer_side_px)


def _named_finder(options: DetectorOptions) -> FaceFinder:
    """The finder that the options name."""
    return open_finder(options.finder, options.finder_model)


def _named_engine(bundle: Bundle, options: DetectorOptions) -> StreamEngine:
    """The engine that the options name."""
    return open_engine(
        bundle,
        options.engine,
        max_faces=options.max_faces,
        threads=options.threads,
        options=options.engine_options,
    )
