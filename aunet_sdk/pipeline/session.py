"""One video or stream on its way through the detector: neighbours in time, results in frame order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..engines.base import Slot
from ..faces.finders.base import LONGER_SIDE_PX, FaceFinder
from ..faces.tracker import Track, Tracker
from ..geometry.pose import head_pose
from ..options import LookAhead
from ..post.baseline import RestingFaces
from ..results import Context, Face, FrameResult, HeadPose
from .crop_inference import FaceNetwork
from .face_step import Ask, Follower, View
from .stage_timer import StageTimer
from .temporal import Due, TemporalBuffer


@dataclass(frozen=True)
class Selection:
    """Which AUs are reported, and from which probability on they are active."""

    columns: np.ndarray
    """(n,) int: columns of the engine's logits"""
    names: tuple[str, ...]
    thresholds: np.ndarray
    """(n,) float32"""


@dataclass(frozen=True, eq=False)
class _FaceRecord:
    """What is kept of one face of one frame until its frame is due and no longer a neighbour of another."""

    slot: Slot
    box: np.ndarray
    score: float
    landmarks: np.ndarray
    confidences: np.ndarray
    pose: HeadPose


@dataclass(eq=False)
class _FrameRecord:
    """One frame, without its picture."""

    index: int
    timestamp_s: float
    width: int
    height: int
    faces: dict[int, _FaceRecord] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    answers: dict[int, Ask] = field(default_factory=dict)
    """by face id: what the engine said in a push that failed afterwards; it may be asked about a frame only once"""


class Session:
    """State of one video or stream; the ids of its faces start at 1.

    Args:
        network, finder: may be shared with other sessions, one at a time.
        tracker: a fresh one.
        look_ahead: as in DetectorOptions.
        selection: AUs to report.
        longer_side_px: for the finder.
        resting: learns the faces at rest; None: probabilities are as the network says.
    """

    def __init__(
        self,
        network: FaceNetwork,
        finder: FaceFinder,
        tracker: Tracker,
        look_ahead: LookAhead,
        selection: Selection,
        longer_side_px: int = LONGER_SIDE_PX,
        resting: RestingFaces | None = None,
    ) -> None:
        self.tracker = tracker
        self.details_ms: Mapping[str, float] = {}
        """of the last frame: profiling.DETAILS"""
        self._follower = Follower(network, finder, tracker, longer_side_px)
        self._points3d = network.bundle.points3d
        self._selection = selection
        self._resting = resting
        self._buffer: TemporalBuffer[_FrameRecord] = TemporalBuffer(network.bundle.interval_s, look_ahead)

    def push(self, image: np.ndarray, timestamp_s: float, index: int, decode_ms: float = 0.0) -> list[FrameResult]:
        """Take in a frame, uint8 (H, W, 3) BGR; the results that are ready now: final ones in frame order, then the
        early one of this frame.

        Raises InvalidInput for a time that is not finite or does not grow; the session is then as it was. After any
        other error (of the finder or the engine) the frame is none of the session's: what was due stays due, and the
        same frame or the next may come.
        """
        timer = StageTimer()
        timer.add("decode", decode_ms)
        record = _FrameRecord(index, timestamp_s, image.shape[1], image.shape[0])
        restore = self._buffer.snapshot()
        late: list[Due[_FrameRecord]] = []
        asks: list[list[Ask]] = []
        try:
            with timer.stage("buffer"):
                dues = self._buffer.add(timestamp_s, record)
                early = next((due for due in dues if due.item is record), None)
                late = [due for due in dues if due.item is not record]
            tracks, saw = self._follower.expect(image, timestamp_s, timer)
            with timer.stage("buffer"):
                asks = [_asks(due, record, tracks) for due in late]
                formers = None if early is None else _slots(early.former)
            views = self._follower.see(image, timestamp_s, tracks, saw, _unanswered(asks), formers, timer)
            with timer.stage("points"):
                record.faces = {view.track.id: self._record(view, timestamp_s) for view in views}
            record.latency_ms = timer.stop()
            with timer.stage("buffer"):
                results = [self._result(due.item, asked) for due, asked in zip(late, asks, strict=True)]
                if early is not None:
                    results.append(self._early_result(early, views))
        except BaseException:
            restore()
            for due, asked in zip(late, asks, strict=False):
                due.item.answers = {ask.face_id: ask for ask in asked if ask.logits is not None}
            raise
        self.details_ms = timer.details()
        return results

    def flush(self) -> list[FrameResult]:
        """The results that were still waiting for a later frame. The session is over then; where the engine fails, it
        is as before, and may be asked again.
        """
        restore = self._buffer.snapshot()
        dues = self._buffer.flush()
        asks = [_asks(due, None, ()) for due in dues]
        try:
            self._follower.answer(_unanswered(asks))
        except BaseException:
            restore()
            raise
        return [self._result(due.item, asked) for due, asked in zip(dues, asks, strict=True)]

    def _record(self, view: View, now_s: float) -> _FaceRecord:
        track, seen = view.track, view.seen
        pose = head_pose(seen.landmarks, self._points3d)
        return _FaceRecord(seen.slot, track.box, track.score(now_s), seen.landmarks, seen.confidences, pose)

    def _result(self, record: _FrameRecord, asks: Sequence[Ask]) -> FrameResult:
        faces = [
            self._face(ask.face_id, record, ask.logits, ask.context, provisional=False)
            for ask in asks
            if ask.logits is not None
        ]
        return _frame_result(record, faces, provisional=False)

    def _early_result(self, due: Due[_FrameRecord], views: Sequence[View]) -> FrameResult:
        record, former = due.item, _slots(due.former)
        faces = []
        for view in views:
            face_id = view.track.id
            if view.early_logits is not None:
                context = Context.PAST if face_id in former else Context.NONE
                faces.append(self._face(face_id, record, view.early_logits, context, provisional=due.provisional))
        return _frame_result(record, faces, provisional=due.provisional)

    def _face(
        self, face_id: int, frame: _FrameRecord, logits: np.ndarray, context: Context, *, provisional: bool
    ) -> Face:
        record, chosen = frame.faces[face_id], logits[self._selection.columns].astype(np.float64)
        if self._resting is not None:
            chosen = chosen - self._resting.lowering(face_id, chosen, frame.timestamp_s, learn=not provisional)
        probabilities = 1 / (1 + np.exp(-chosen))
        return Face(
            id=face_id,
            box=record.box,
            score=record.score,
            landmarks=record.landmarks,
            landmark_confidence=record.confidences,
            pose=record.pose,
            au_names=self._selection.names,
            probabilities=probabilities,
            active=probabilities >= self._selection.thresholds,
            context=context,
            provisional=provisional,
        )


def _slots(record: _FrameRecord | None) -> dict[int, Slot]:
    return {} if record is None else {face_id: face.slot for face_id, face in record.faces.items()}


def _asks(due: Due[_FrameRecord], new: _FrameRecord | None, tracks: Sequence[Track]) -> list[Ask]:
    """One question per face of a frame that is due; `new` is the frame that is being looked at, with these tracks."""
    former, later = _slots(due.former), _slots(due.later)
    present = {track.id for track in tracks} if new is not None and due.later is new else set()
    return [
        due.item.answers.get(face_id)
        or Ask(face_id, face.slot, former.get(face_id), later.get(face_id), later_is_new=face_id in present)
        for face_id, face in sorted(due.item.faces.items())
    ]


def _unanswered(asks: Sequence[Sequence[Ask]]) -> list[Ask]:
    """Those that are not answered yet."""
    return [ask for some in asks for ask in some if ask.logits is None]


def _frame_result(record: _FrameRecord, faces: Sequence[Face], *, provisional: bool) -> FrameResult:
    return FrameResult(
        index=record.index,
        timestamp_s=record.timestamp_s,
        width=record.width,
        height=record.height,
        faces=tuple(faces),
        provisional=provisional,
        latency_ms=record.latency_ms,
    )
