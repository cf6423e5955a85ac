"""One video or stream on its way through the detector: find, crop, infer, decide, emit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..engines.base import StreamStates
from ..errors import InvalidInput
from ..faces.finders.base import LONGER_SIDE_PX, FaceFinder
from ..faces.scan import RegionScan
from ..faces.tracker import Tracker
from ..geometry.pose import head_pose
from ..options import LookAhead
from ..post.neutral import NeutralFaces
from ..post.validity import AUValidity
from ..results import FrameResult
from .crop_inference import FaceNetwork
from .decisions import DecisionScheduler
from .emission import Emission
from .face_step import FaceStep, NewFrame, View
from .records import FaceRecord, FrameRecord
from .stage_timer import StageTimer

__all__ = ["Session"]


class Session:
    """State of one video or stream; the ids of its faces start at 1.

    Args:
        network, finder: may be shared with other sessions, one at a time.
        tracker: a fresh one.
        look_ahead: as in DetectorOptions.
        emission: makes the results.
        longer_side_px: for the finder's look at the whole frame.
        scan: whose turn it is of the regions that are searched for small faces; None: none of them is.
        validity: says which AUs can be seen, a fresh one; None: nobody looks.
        neutral: learns the points at rest, the emission's; None: the network does not ask for them.
        states: the engine's, of an earlier session that is over, to be used again; None: new ones with the first face.
    """

    def __init__(
        self,
        network: FaceNetwork,
        finder: FaceFinder,
        tracker: Tracker,
        look_ahead: LookAhead,
        emission: Emission,
        longer_side_px: int = LONGER_SIDE_PX,
        states: StreamStates | None = None,
        scan: RegionScan | None = None,
        validity: AUValidity | None = None,
        neutral: NeutralFaces | None = None,
    ) -> None:
        self._recorder: Callable[[FrameRecord, StreamStates], None] | None = None
        self.tracker = tracker
        self.details_ms: Mapping[str, float] = {}
        """of the last frame: profiling.DETAILS"""
        self.states = states
        self._network = network
        self._scan = scan
        self._faces = FaceStep(network, finder, tracker, longer_side_px, scan, neutral)
        self._neutral = neutral
        reference_of = (lambda face_id: None) if neutral is None else neutral.reference
        self._decisions = DecisionScheduler(network.engine, look_ahead, reference_of)
        self._emission = emission
        self._validity = validity

    @property
    def kept(self) -> int:
        """Frames, without their pictures, that are kept for later ones."""
        return len(self._decisions)

    @property
    def waiting(self) -> int:
        """Frames whose final result is still to come."""
        return self._decisions.waiting

    @property
    def unanswered(self) -> int:
        """How often a face of a frame had to be left out of the result, since its state was gone."""
        return self._decisions.unanswered

    def push(self, image: np.ndarray, timestamp_s: float, index: int, decode_ms: float = 0.0) -> list[FrameResult]:
        """Take in a frame, uint8 (H, W, 3) BGR; the results that are ready now: final ones in frame order, then the
        early one of this frame.

        Raises InvalidInput for a time that is not finite or does not grow. After any error the session is as it was
        before: the frame is not part of it, what was due stays due, and the same frame or the next may come.
        """
        timer = StageTimer()
        timer.add("decode", decode_ms)
        record = FrameRecord(index, timestamp_s, image.shape[1], image.shape[0])
        with self._undone_on_error():
            with timer.stage("buffer"):
                turn = self._decisions.begin(record)
            states = self._open_states()
            frame = self._faces.find(NewFrame(image, timestamp_s, timer))
            turn.expect({track.id for track in frame.tracks})
            matrices = self._faces.crop(frame, states)
            views = self._faces.infer(frame, matrices, turn, states)
            turn.finish({view.track.id: view.seen.slot for view in views}, states)
            with timer.stage("points"):
                record.faces = {view.track.id: self._record(view, image, timestamp_s) for view in views}
            if self._recorder is not None:
                self._recorder(record, states)
            record.latency_ms = timer.stop()
            with timer.stage("buffer"):
                results = [self._emission.final(due.item, asks) for due, asks in zip(turn.late, turn.asks, strict=True)]
                if turn.early is not None:
                    results.append(self._emission.early(record, provisional=turn.early.provisional))
                self._decisions.done(turn, [view.seen.slot for view in views], states)
        self.details_ms = timer.details()
        return results

    def flush(self) -> list[FrameResult]:
        """The results that were still waiting for a later frame. The session is over then; where the engine fails, it
        is as before, and may be asked again.
        """
        with self._undone_on_error():
            turn = self._decisions.end()
            states = self._open_states()
            turn.finish({}, states)
            results = [self._emission.final(due.item, asks) for due, asks in zip(turn.late, turn.asks, strict=True)]
            self._decisions.done(turn, (), states)
        return results

    def calibrate(self, face_id: int) -> None:
        """See Stream.calibrate."""
        if self._neutral is None:
            bundle = self._network.bundle
            raise InvalidInput(
                f"calibrate: expected a model that reads the person's points at rest, got {bundle.name} (schema "
                f"{bundle.schema}), which does not; baseline='person' lowers what such a model reads at rest"
            )
        self._neutral.calibrate(face_id)

    def record(self, recorder: Callable[[FrameRecord, StreamStates], None]) -> None:
        """Tell the recorder of every new frame, when the states of its faces are there; each face then has its
        normalised points, where the model reads those at rest, and none are learned: who records does that."""
        self._recorder = recorder
        if self._neutral is not None:
            self._neutral.only_watch()

    def close(self) -> None:
        """Give the engine's memory back. Results that still waited are lost."""
        if self.states is not None:
            self.states.close()
            self.states = None

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        """Whatever is raised inside, also by the keyboard, leaves frames, tracks and counts as they were."""
        undo: list[Callable[[], None]] = [
            self._decisions.snapshot(),
            self.tracker.snapshot(),
            self._emission.snapshot(),
        ]
        undo += [each.snapshot() for each in (self._scan, self._validity) if each is not None]
        if self._neutral is not None:
            undo.append(self._neutral.discard)
        try:
            yield
        except BaseException:
            for each in undo:
                each()
            raise
        if self._neutral is not None:
            self._neutral.commit()

    def _open_states(self) -> StreamStates:
        if self.states is None:
            self.states = self._network.engine.open_states()
        return self.states

    def _record(self, view: View, image: np.ndarray, now_s: float) -> FaceRecord:
        track, seen = view.track, view.seen
        pose = head_pose(seen.landmarks, self._network.bundle.points3d)
        hidden = None
        if self._validity is not None:
            size = image.shape[1], image.shape[0]
            hidden = self._validity.reasons(track.id, seen.landmarks, seen.confidences, pose, size, now_s, image)
        score = track.score(now_s)
        if self._neutral is not None and seen.normal is not None:
            self._neutral.take(track.id, now_s)
        return FaceRecord(
            seen.slot, track.box, score, seen.landmarks, seen.confidences, pose, hidden, view.early, seen.normal
        )
