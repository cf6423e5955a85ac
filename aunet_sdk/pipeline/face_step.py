"""The faces of one new frame: found, cropped, and looked at by the network.

The usual frame takes one step of the engine. Faces that begin take a step before it, to find their canonical crop;
faces whose crop turned out to be off take one after it. What becomes of a face is decided in faces/track_policy.py;
the questions that ride along with the steps are those of pipeline/decisions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engines.base import StreamStates
from ..faces.finders.base import FaceFinder, FoundFace
from ..faces.plausibility import covered, iou
from ..faces.scan import FINDER_NEEDS_PX, Region, RegionScan
from ..faces.track_policy import TrackPolicy
from ..faces.tracker import SAME_FACE_IOU, Track, Tracker
from ..post.neutral import NeutralFaces
from .crop_inference import FaceNetwork, Seen
from .decisions import Turn
from .records import Answer
from .stage_timer import StageTimer

__all__ = ["FaceStep", "NewFrame", "View"]


@dataclass(frozen=True, eq=False, slots=True)
class NewFrame:
    """The frame that is being worked on."""

    image: np.ndarray
    """uint8 (H, W, 3) BGR"""
    timestamp_s: float
    timer: StageTimer
    tracks: tuple[Track, ...] = ()
    """that are looked for in it, ascending by id"""
    saw: frozenset[int] = frozenset()
    """ids of the faces that the finder saw in it"""
    searched: bool = False
    """the finder was asked about the whole frame"""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One face of the new frame, sure enough to be reported."""

    track: Track
    seen: Seen
    early: Answer | None
    """without the later frame, where that was asked for"""


class FaceStep:
    """Finder, crops and network of one stream, with the tracker that says where faces are to be expected."""

    def __init__(
        self,
        network: FaceNetwork,
        finder: FaceFinder,
        tracker: Tracker,
        longer_side_px: int,
        scan: RegionScan | None = None,
        neutral: NeutralFaces | None = None,
    ) -> None:
        self._network = network
        self._finder = finder
        self._tracker = tracker
        self._policy = TrackPolicy(tracker)
        self._longer_side_px = longer_side_px
        self._scan = scan
        self._neutral = neutral

    def find(self, frame: NewFrame) -> NewFrame:
        """The frame with the tracks to look for; the finder is asked where it is due."""
        saw: frozenset[int] = frozenset()
        due = self._tracker.finder_due(frame.timestamp_s)
        if due:
            side_px = self._tracker.look_px(self._longer_side_px, max(frame.size), frame.timestamp_s)
            saw = self._ask_finder(frame, side_px)
        if self._scan is not None:
            missed = [track for track in self._tracker.live if track.denied_s is not None] + self._tracker.lost
            urgent = [track.box for track in missed if self._is_small(track, frame)]
            region = self._scan.turn(frame.size, frame.timestamp_s, urgent)
            if region is not None:
                saw |= self._ask_finder_about(frame, region)
        tracks = tuple(self._policy.expected(frame.timestamp_s))
        return NewFrame(frame.image, frame.timestamp_s, frame.timer, tracks, saw, searched=due)

    def crop(self, frame: NewFrame, states: StreamStates) -> list[np.ndarray]:
        """The crop (2, 3) of every track: canonical by its last landmarks, or by those of a first look where it
        begins."""
        matrices: dict[int, np.ndarray] = {}
        fresh = [track for track in frame.tracks if track.restart or track.landmarks is None]
        for track in fresh:
            matrices[track.id] = self._network.found_matrix(track.face)
        if fresh:
            first = [matrices[track.id] for track in fresh]
            looks, _ = self._network.look(frame.image, first, frame.timer, states=states)
            for track, seen in zip(fresh, looks, strict=True):
                if self._policy.passable(seen, frame.size):
                    matrices[track.id] = self._network.canonical_matrix(seen.landmarks)
        for track in frame.tracks:
            if track.id not in matrices and track.landmarks is not None:
                matrices[track.id] = self._network.canonical_matrix(track.landmarks)
        return [matrices[track.id] for track in frame.tracks]

    def infer(self, frame: NewFrame, matrices: Sequence[np.ndarray], turn: Turn, states: StreamStates) -> list[View]:
        """Look at the crops, once more where they were off; the faces that are there, ascending by id."""
        tracks = frame.tracks
        if not tracks:
            return []
        views = self._look(frame, {track.id: m for track, m in zip(tracks, matrices, strict=True)}, turn, states)
        evidence = {face_id: view.seen for face_id, view in views.items()}
        sure, saw = self._policy.sure(evidence, frame.size), frame.saw
        unsure = [track for track in tracks if track.id not in sure and track.id not in saw]
        if unsure and not frame.searched:
            saw |= self._ask_finder(frame, self._longer_side_px)
        for track in unsure:
            if self._scan is not None and track.id not in saw and self._is_small(track, frame):
                region = self._scan.around(frame.size, track.box)
                if region is not None:
                    saw |= self._ask_finder_about(frame, region)
        verdict = self._policy.judge(tracks, evidence, sure, saw, frame.size)
        gone = set(verdict.gone)
        if verdict.again:
            again = {
                track.id: self._network.canonical_matrix(evidence[track.id].landmarks)
                if track.id in verdict.recrop
                else self._network.found_matrix(track.face)
                for track in tracks
                if track.id in verdict.again
            }
            turn.revoke(verdict.again)
            worse = set()
            for face_id, view in self._look(frame, again, turn, states).items():
                if self._policy.better(view.seen, face_id in sure, frame.size):
                    views[face_id] = view
                else:
                    worse.add(face_id)
            turn.revoke(worse)
            gone |= worse - sure
        turn.revoke(gone)
        evidence = {face_id: view.seen for face_id, view in views.items()}
        return [views[track.id] for track in self._policy.keep(tracks, evidence, gone, frame.timestamp_s)]

    def _ask_finder(self, frame: NewFrame, side_px: int) -> frozenset[int]:
        """Ids of the faces that the finder sees at this longer side."""
        with frame.timer.stage("find"):
            large = max(frame.size) >= self._tracker.min_face_px
            faces = self._finder.find(frame.image, side_px) if large else []
            full = side_px >= self._longer_side_px
            smallest_px = 0.0 if self._scan is None else FINDER_NEEDS_PX * max(frame.size) / side_px
            return frozenset(self._tracker.found(faces, frame.timestamp_s, full, smallest_px))

    def _ask_finder_about(self, frame: NewFrame, region: Region) -> frozenset[int]:
        """Ids of the faces that the finder sees in this part of the frame."""
        with frame.timer.stage("find"):
            faces = []
            for face in self._finder.find(region.cut(frame.image), region.look_px):
                box = face.box + (region.x, region.y, 0, 0)
                points = None if face.points is None else face.points + (region.x, region.y)
                if region.holds(box, frame.size) and not self._is_part(box, frame):
                    faces.append(replace(face, box=box, points=points))
            if self._scan is not None and any(self._is_small(face, frame) for face in faces):
                self._scan.found()

            def covers(track: Track) -> bool:
                found = max(track.box[2:]) * region.scale >= FINDER_NEEDS_PX
                return bool(found and self._is_small(track, frame) and region.holds(track.box, frame.size))

            return frozenset(self._tracker.scanned(faces, frame.timestamp_s, covers))

    def _is_part(self, box: np.ndarray, frame: NewFrame) -> bool:
        """Whether this box is that of a part of a followed face which the usual look sees whole: a region may cut it
        off, and the finder then takes what is left of it for a face of its own."""
        larger = [track.box for track in self._tracker.live if not self._is_small(track, frame)]
        return any(covered(box, other) > 0.5 and iou(box, other) < SAME_FACE_IOU for other in larger)

    def _is_small(self, face: Track | FoundFace, frame: NewFrame) -> bool:
        """Too small to be found in the whole frame as the finder sees it."""
        return bool(max(face.box[2:]) < FINDER_NEEDS_PX * max(frame.size) / self._longer_side_px)

    def _look(
        self, frame: NewFrame, matrices: dict[int, np.ndarray], turn: Turn, states: StreamStates
    ) -> dict[int, View]:
        """One step of the engine with one crop per face id; what it answers goes to `turn`."""
        ids = list(matrices)
        queries, causal = turn.ride(ids, states)
        more: dict[str, Any] = {}
        if self._neutral is not None:
            more["sampled"] = [self._neutral.wants(face_id, frame.timestamp_s) for face_id in ids]
            if causal is not None:
                more["references"] = [self._neutral.reference(face_id) for face_id in ids]
        seen, step = self._network.look(
            frame.image, list(matrices.values()), frame.timer, queries, causal, states, **more
        )
        early = turn.take(step, ids, causal)
        tracks = {track.id: track for track in frame.tracks}
        return {face_id: View(tracks[face_id], seen[row], early.get(face_id)) for row, face_id in enumerate(ids)}
