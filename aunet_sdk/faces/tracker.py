"""Following faces: which track a box or a set of landmarks belongs to, when a track begins and when it ends.

Between the finder's runs a track is carried by its landmarks alone. The tracker holds no picture and runs no network:
it hears what the finder and the network saw, and decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

import numpy as np

from .boxes import gaps, match, overlaps
from .cadence import Cadence
from .finders.base import FoundFace
from .motion import Motion, astray, moved
from .plausibility import Drift, box_of, plausible, size_of

log = logging.getLogger(__name__)

MATCH_IOU = 0.3
MATCH_DISTANCE = 0.45
SAME_FACE_IOU = 0.5
REVIVE_S = 1.5
REVIVE_DISTANCE = 1.2
REVIVE_RATIO = 1.8
UNCONFIRMED_S = 1.0
RECHECK_S = 0.2
DISPLACE_RATIO = 1.5
CONFIRMED_FRACTION = 0.6
SCORE_HALF_LIFE_S = 1.0
FREE_IOU = 0.02
"""A face that overlaps another by less stands free: how it moves can be told."""
QUICK = 0.6
"""side of a quick look over that of a full one"""
QUICK_FACE_PX = 24
"""every face that is followed must be this large in a quick look, far above what finders need"""


@dataclass(eq=False, slots=True)
class Track:
    """One face that is followed."""

    id: int
    box: np.ndarray
    """(4,) px: from the landmarks, or from the finder where `restart` is set"""
    finder_score: float
    confirmed_s: float
    """when the finder last saw it"""
    seen_s: float
    """when it last had a row"""
    face: FoundFace
    """what the finder saw last"""
    landmarks: np.ndarray | None = None
    """(68, 2) float64 px of the last frame"""
    confidence: float = 0.0
    restart: bool = True
    """the next crop is to be taken from the box, not from the landmarks"""
    denied_s: float | None = None
    """since when the finder runs without seeing it"""
    beside: frozenset[int] = frozenset()
    """ids of live tracks that the finder has seen together with it, in one look: other people for certain"""
    motion: Motion | None = None
    """of the time when it last stood free of others that are followed; None: there were none"""

    def score(self, now_s: float) -> float:
        """0..1: geometric mean of the finder's last score, halved for every second that the finder has denied the face,
        and of the mean landmark confidence."""
        denied = 0.0 if self.denied_s is None else max(0.0, now_s - self.denied_s)
        return float(np.sqrt(self.finder_score * 0.5 ** (denied / SCORE_HALF_LIFE_S) * min(1.0, self.confidence)))


_NAMES = tuple(each.name for each in fields(Track))
_state = attrgetter(*_NAMES)


@dataclass(eq=False)
class Tracker:
    """The tracks of one stream. Ids start at 1 and are never used again."""

    min_confidence: float
    """mean landmark confidence under which a face needs the finder's word"""
    detect_interval_s: float = 0.5
    max_faces: int = 8
    min_face_px: float = 24
    live: list[Track] = field(default_factory=list)
    lost: list[Track] = field(default_factory=list)
    left_out: int = 0
    """faces that were seen but not followed since max_faces was reached, over all runs of the finder"""
    cadence: Cadence = field(default_factory=Cadence)
    """the turns of `detect_interval_s`, in each of which the finder looks once"""
    _next_id: int = 1
    _found_s: float | None = None
    _full: bool = False
    """the finder's last look was a full one"""

    def continue_ids(self, before: Tracker) -> None:
        """Ids go on after those of another tracker, of the same stream before a gap."""
        self._next_id = before._next_id

    def finder_due(self, now_s: float) -> bool:
        """Whether the finder should look at the frame of this time: nothing is followed, a face was lost a moment
        ago, a new interval has begun, or a face that it did not see the last time is to be looked at again."""
        self.cadence.begin(now_s)
        self.lost = [track for track in self.lost if now_s - track.seen_s <= REVIVE_S]
        if not self.live or self.lost or self._found_s is None:
            return True
        denied = any(track.denied_s is not None for track in self.live)
        wait_s = min(RECHECK_S, self.detect_interval_s) if denied else self.detect_interval_s
        return self.cadence.due(self._found_s, now_s, wait_s)

    def look_px(self, longer_side_px: int, frame_px: int, now_s: float) -> int:
        """The longer side at which the finder should see the frame of this time and longer side: `longer_side_px`, but
        the looks of every second interval are quick ones, smaller by `QUICK`, as long as all is well: every face is
        followed, large enough for it, and seen by the look before, a full one. A new face that is too small for a quick
        look waits for the next.
        """
        if self.detect_interval_s > 0 and self.cadence.turn(now_s, self.detect_interval_s) % 2 == 0:
            return longer_side_px
        quick_px = round(QUICK * longer_side_px)
        scale = quick_px / max(1, frame_px)
        well = self._full and self.live and not self.lost and all(track.denied_s is None for track in self.live)
        if well and all(size_of(track.box) * scale >= QUICK_FACE_PX for track in self.live):
            return quick_px
        return longer_side_px

    def found(self, faces: Sequence[FoundFace], now_s: float, full: bool = True, smallest_px: float = 0.0) -> set[int]:
        """Take in what the finder saw in the frame of this time, in a full look or a quick one; returns the ids of the
        tracks that it saw.

        Known faces are confirmed; where the finder's box is elsewhere the track starts anew from it. Other boxes
        revive a track that was lost nearby, or begin one. A track that was not seen is denied, unless its longer side
        is below `smallest_px`, so that it could not be seen.
        """
        self._found_s, self._full = now_s, full
        return self._take_in(faces, now_s, lambda track: bool(max(track.box[2:]) >= smallest_px))

    def scanned(self, faces: Sequence[FoundFace], now_s: float, covers: Callable[[Track], bool]) -> set[int]:
        """`found` for a look at a part of the frame, which denies and scores those tracks alone that it `covers`."""
        return self._take_in(faces, now_s, covers)

    def _take_in(self, faces: Sequence[FoundFace], now_s: float, denies: Callable[[Track], bool]) -> set[int]:
        faces = [face for face in faces if max(face.box[2:]) >= self.min_face_px]
        known, shown = _boxes(self.live), _boxes(faces)
        overlap = overlaps(known, shown)
        partner = match(overlap, gaps(known, shown), MATCH_IOU, MATCH_DISTANCE)
        seen: set[int] = set()
        for row, (track, index) in enumerate(zip(self.live, partner.tolist(), strict=True)):
            if index >= 0:
                seen.add(track.id)
                score = faces[index].score if denies(track) else track.finder_score
                self._confirm(track, faces[index], now_s, score, moved=bool(overlap[row, index] < MATCH_IOU))
        for track in self.live:
            if track.id not in seen and track.denied_s is None and denies(track):
                track.denied_s = now_s
        taken = set(partner.tolist())
        rest = self._uncovered([face for index, face in enumerate(faces) if index not in taken])
        for face in sorted(rest, key=lambda face: -size_of(face.box)):
            begun = self._begin(face, now_s)
            if begun is not None:
                seen.add(begun.id)
        if len(seen) > 1:
            ids = {track.id for track in self.live}
            for track in self.live:
                if track.id in seen:
                    track.beside = frozenset(seen | (track.beside & ids)) - {track.id}
        return seen

    def _uncovered(self, faces: list[FoundFace]) -> list[FoundFace]:
        """Those that lie on no live track."""
        if not faces or not self.live:
            return faces
        most = overlaps(_boxes(self.live), _boxes(faces)).max(axis=0)
        return [face for face, overlap in zip(faces, most.tolist(), strict=True) if overlap <= SAME_FACE_IOU]

    @staticmethod
    def _confirm(track: Track, face: FoundFace, now_s: float, score: float, moved: bool) -> None:
        track.finder_score, track.confirmed_s, track.denied_s = score, now_s, None
        track.face = face
        if moved:
            track.box, track.restart = face.box, True

    def _begin(self, face: FoundFace, now_s: float) -> Track | None:
        if len(self.live) >= self.max_faces:
            if not self.left_out:
                log.warning(
                    "more faces in view than max_faces=%d: the smallest are left out; raise DetectorOptions.max_faces "
                    "(a TensorRT plan is then built for as many)",
                    self.max_faces,
                )
            self.left_out += 1
            smallest = min(self.live, key=lambda track: (size_of(track.box), -track.id))
            if size_of(face.box) < DISPLACE_RATIO * size_of(smallest.box):
                return None
            self.live.remove(smallest)
        near = self._lost_near(face)
        if near is not None:
            track = near
            self.lost.remove(track)
            self._confirm(track, face, now_s, face.score, moved=True)
        else:
            track = Track(self._next_id, face.box, face.score, now_s, now_s, face)
            self._next_id += 1
        self.live.append(track)
        self.live.sort(key=lambda track: track.id)
        return track

    def _lost_near(self, face: FoundFace) -> Track | None:
        """The lost track nearest to this face, of those near enough and of about its size."""
        if not self.lost:
            return None
        near = [
            (gap, track.id, track)
            for track, (gap,) in zip(self.lost, gaps(_boxes(self.lost), _boxes([face])).tolist(), strict=True)
            if gap <= REVIVE_DISTANCE and 1 / REVIVE_RATIO <= size_of(track.box) / size_of(face.box) <= REVIVE_RATIO
        ]
        return min(near)[2] if near else None

    def sure(self, landmarks: np.ndarray, confidence: float, drift: Drift, width: int, height: int) -> bool:
        """Whether what the network saw in a crop counts as a face without the finder's word."""
        return confidence >= self.min_confidence and plausible(landmarks, drift, width, height)

    def passable(self, landmarks: np.ndarray, confidence: float, drift: Drift, width: int, height: int) -> bool:
        """Whether it counts as a face together with the finder's word in this very frame."""
        return confidence >= CONFIRMED_FRACTION * self.min_confidence and plausible(landmarks, drift, width, height)

    def accept(self, track: Track, landmarks: np.ndarray, confidence: float, now_s: float) -> None:
        """The track goes on with these landmarks (68, 2) px of the frame of this time."""
        track.landmarks, track.confidence = np.asarray(landmarks, np.float64), confidence
        track.box, track.restart, track.seen_s = box_of(track.landmarks), False, now_s

    def denied_too_long(self, track: Track, now_s: float) -> bool:
        """The finder has run without seeing this face for a second."""
        return track.denied_s is not None and now_s - track.denied_s >= UNCONFIRMED_S - 1e-6

    def lose(self, track: Track) -> None:
        """The face is gone for now; found again nearby and soon, it keeps its id."""
        self.live.remove(track)
        if track.landmarks is not None:
            track.restart = True
            self.lost.append(track)

    def merge(self) -> list[Track]:
        """Drop one of two tracks that sit on one face; returns those dropped.

        Where the finder has seen both at once they are two people, and one now hides the other: the track that is not
        where its own movement led has slid onto the other's face. It is lost, and keeps its id once it is found again.
        Otherwise the younger one is a double, and is forgotten.
        """
        if len(self.live) < 2:
            return []
        boxes = _boxes(self.live)
        shared = overlaps(boxes, boxes)
        dropped: list[Track] = []
        hidden: list[Track] = []
        for row, column in np.argwhere(shared > SAME_FACE_IOU).tolist():
            older, younger = self.live[row], self.live[column]
            if younger.id <= older.id or older in dropped or younger in dropped:
                continue
            if younger.id in older.beside:
                off = [astray(track.motion, track.box, track.seen_s) for track in (older, younger)]
                hidden.append(older if off[0] > off[1] else younger)
            dropped.append(hidden[-1] if younger.id in older.beside else younger)
        for track, most in zip(self.live, (shared - np.eye(len(boxes))).max(axis=1).tolist(), strict=True):
            if most < FREE_IOU and track not in dropped:
                track.motion = moved(track.motion, track.box, track.seen_s)
        for track in hidden:
            self.lose(track)
        self.live = [track for track in self.live if track not in dropped]
        return dropped

    def snapshot(self) -> Callable[[], None]:
        """What puts tracks and counts back to where they are now, for a frame that cannot be worked through."""
        live, lost = self.live.copy(), self.lost.copy()
        left_out, next_id, found_s, full = self.left_out, self._next_id, self._found_s, self._full
        origin_s = self.cadence.origin_s
        kept = [(track, _state(track)) for track in (*live, *lost)]

        def restore() -> None:
            self.live, self.lost = live, lost
            self.left_out, self._next_id, self._found_s, self._full = left_out, next_id, found_s, full
            self.cadence.origin_s = origin_s
            for track, values in kept:
                for name, value in zip(_NAMES, values, strict=True):
                    setattr(track, name, value)

        return restore


def _boxes(things: Sequence[Track | FoundFace]) -> np.ndarray:
    """Their boxes, float64 (N, 4), x, y, width, height in px."""
    return np.array([thing.box for thing in things], np.float64).reshape(-1, 4)
