"""The faces of one new frame: from tracks to landmarks, and the questions to the network that ride along.

The usual frame takes one step of the engine. Faces that begin take a step before it, to find their canonical crop;
faces whose crop turned out to be off take one after it, and so do questions that were put on the strength of a face
that then turned out to be none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..engines.base import NEW, Query, Slot
from ..faces.finders.base import FaceFinder
from ..faces.plausibility import Drift
from ..faces.tracker import Track, Tracker
from ..results import Context
from .crop_inference import FaceNetwork, Seen
from .stage_timer import StageTimer

Rule: TypeAlias = Callable[[np.ndarray, float, Drift, int, int], bool]

_CONTEXTS = {
    (True, True): Context.FULL,
    (True, False): Context.PAST,
    (False, True): Context.FUTURE,
    (False, False): Context.NONE,
}


@dataclass(eq=False)
class Ask:
    """The decision that is wanted about one face of an earlier frame."""

    face_id: int
    due: Slot
    former: Slot | None
    later: Slot | None
    """None: there is none, or `later_is_new`"""
    later_is_new: bool = False
    """the later frame is the new one, if the face is still there"""
    logits: np.ndarray | None = None
    """(n,) the answer"""

    def query(self) -> Query:
        """With whatever neighbours there are; the due frame stands in for one that is missing."""
        later = NEW if self.later_is_new else self.later
        return Query(self.former or self.due, self.due, self.due if later is None else later)

    def without_new(self) -> Query:
        """As if the face were not in the new frame."""
        return Query(self.former or self.due, self.due, self.later or self.due)

    @property
    def context(self) -> Context:
        """Which neighbours the answer has seen."""
        return _CONTEXTS[self.former is not None, self.later_is_new or self.later is not None]


@dataclass(frozen=True, eq=False)
class View:
    """One face of the new frame, sure enough to be reported."""

    track: Track
    seen: Seen
    early_logits: np.ndarray | None
    """(n,) without the later frame, where that was asked for"""


class Follower:
    """Follows faces from frame to frame with finder, tracker and network."""

    def __init__(self, network: FaceNetwork, finder: FaceFinder, tracker: Tracker, longer_side_px: int) -> None:
        self.network = network
        self.tracker = tracker
        self._finder = finder
        self._longer_side_px = longer_side_px

    def expect(self, image: np.ndarray, now_s: float, timer: StageTimer) -> tuple[list[Track], set[int] | None]:
        """The tracks to look for in this frame, ascending by id, and the ids that the finder saw (None: not asked)."""
        saw = None
        if self.tracker.finder_due(now_s):
            side_px = self.tracker.look_px(self._longer_side_px, max(image.shape[:2]))
            saw = self._find(image, now_s, timer, side_px)
        for track in [track for track in self.tracker.live if self.tracker.denied_too_long(track, now_s)]:
            self.tracker.lose(track)
        return list(self.tracker.live), saw

    def _find(self, image: np.ndarray, now_s: float, timer: StageTimer, side_px: int) -> set[int]:
        with timer.stage("find"):
            large = max(image.shape[:2]) >= self.tracker.min_face_px
            faces = self._finder.find(image, side_px) if large else []
            return self.tracker.found(faces, now_s, full=side_px >= self._longer_side_px)

    def see(
        self,
        image: np.ndarray,
        now_s: float,
        tracks: list[Track],
        saw: set[int] | None,
        asks: Sequence[Ask],
        formers: dict[int, Slot] | None,
        timer: StageTimer,
    ) -> list[View]:
        """Look for the tracks in this frame, answer the asks, keep or lose the tracks.

        Args:
            tracks, saw: from `expect`.
            formers: former slot by face id for the early decision about the new frame; None: no early decision.
        """
        if not tracks:
            self.answer(asks)
            return []
        size = image.shape[1], image.shape[0]
        begun = {track.id for track in tracks if track.restart}
        matrices = self._matrices(image, tracks, size, timer)
        views, waiting = self._look(image, tracks, matrices, asks, formers, timer)
        sure = {track.id for track in tracks if self._judge(self.tracker.sure, views[track.id].seen, size)}
        if saw is None:
            unsure = len(sure) < len(tracks)
            saw = self._find(image, now_s, timer, self._longer_side_px) if unsure else set()
        again: dict[int, np.ndarray] = {}
        gone: set[int] = set()
        for track in tracks:
            seen = views[track.id].seen
            if track not in self.tracker.live or not (track.id in sure or track.id in saw):
                gone.add(track.id)
            elif track.id in sure:
                if seen.drift.too_far:
                    again[track.id] = self.network.canonical_matrix(seen.landmarks)
            elif track.id not in begun:
                again[track.id] = self.network.found_matrix(track.face)
            elif not self._judge(self.tracker.passable, seen, size):
                gone.add(track.id)
        wrong = [ask for ask in asks if ask.later_is_new and ask not in waiting and ask.face_id in gone | again.keys()]
        if again:
            self._look_again(image, again, wrong, views, sure, gone, formers, timer)
        else:
            for ask in wrong:
                ask.later_is_new = False
            self.answer(wrong)
        for ask in waiting:
            ask.later = None if ask.face_id in gone else views[ask.face_id].seen.slot
            ask.later_is_new = False
        self.answer(waiting)
        return self._keep(tracks, views, gone, now_s)

    def answer(self, asks: Sequence[Ask]) -> None:
        """Answer questions about frames that are all in the engine already."""
        if asks:
            for ask, logits in zip(asks, self.network.engine.query([ask.query() for ask in asks]), strict=True):
                ask.logits = logits

    @staticmethod
    def _judge(rule: Rule, seen: Seen, size: tuple[int, int]) -> bool:
        return rule(seen.landmarks, seen.confidence, seen.drift, *size)

    def _matrices(
        self, image: np.ndarray, tracks: list[Track], size: tuple[int, int], timer: StageTimer
    ) -> list[np.ndarray]:
        """The crop of every track: canonical by its last landmarks, or by those of a first look where it begins."""
        matrices: dict[int, np.ndarray] = {}
        fresh = [track for track in tracks if track.restart or track.landmarks is None]
        for track in fresh:
            matrices[track.id] = self.network.found_matrix(track.face)
        if fresh:
            looks, _ = self.network.look(image, [matrices[track.id] for track in fresh], timer)
            for track, seen in zip(fresh, looks, strict=True):
                if self.tracker.passable(seen.landmarks, seen.confidence, seen.drift, *size):
                    matrices[track.id] = self.network.canonical_matrix(seen.landmarks)
        for track in tracks:
            if track.id not in matrices and track.landmarks is not None:
                matrices[track.id] = self.network.canonical_matrix(track.landmarks)
        return [matrices[track.id] for track in tracks]

    def _look(
        self,
        image: np.ndarray,
        tracks: list[Track],
        matrices: list[np.ndarray],
        asks: Sequence[Ask],
        formers: dict[int, Slot] | None,
        timer: StageTimer,
    ) -> tuple[dict[int, View], list[Ask]]:
        """One step of the engine; the views by face id, and the asks that are left for later.

        One ask per face can ride with its crop; where two frames are due at once and share the new one, the second
        waits.
        """
        rows = {track.id: row for row, track in enumerate(tracks)}
        queries: list[Query | None] = [None] * len(tracks)
        places: list[tuple[int, Ask]] = []
        waiting = []
        for ask in asks:
            row = rows[ask.face_id] if ask.later_is_new else len(queries)
            if row == len(queries):
                queries.append(ask.query())
            elif queries[row] is None:
                queries[row] = ask.query()
            else:
                waiting.append(ask)
                continue
            places.append((row, ask))
        causal = None if formers is None else [formers.get(track.id) for track in tracks]
        seen, step = self.network.look(image, matrices, timer, queries, causal)
        for place, ask in places:
            ask.logits = step.logits[place]
        early = step.logits_causal
        views = {
            track.id: View(track, seen[row], None if early is None else early[row]) for row, track in enumerate(tracks)
        }
        return views, waiting

    def _look_again(
        self,
        image: np.ndarray,
        again: dict[int, np.ndarray],
        wrong: Sequence[Ask],
        views: dict[int, View],
        sure: set[int],
        gone: set[int],
        formers: dict[int, Slot] | None,
        timer: StageTimer,
    ) -> None:
        """Another step for the faces in `again`, on other crops; updates `views`, `gone` and the wrong asks.

        Every wrong ask is put both ways, with and without the new frame: afterwards it would be too late, since the
        engine gives up states of a frame that was due.
        """
        rows = {face_id: row for row, face_id in enumerate(again)}
        queries: list[Query | None] = [None] * len(again)
        for ask in wrong:
            if ask.face_id in rows:
                queries[rows[ask.face_id]] = ask.query()
            queries.append(ask.without_new())
        causal = None if formers is None else [formers.get(face_id) for face_id in again]
        seen, step = self.network.look(image, list(again.values()), timer, queries, causal)
        size = image.shape[1], image.shape[0]
        better: set[int] = set()
        for face_id, row in rows.items():
            rule = self.tracker.sure if face_id in sure else self.tracker.passable
            if self._judge(rule, seen[row], size):
                early = None if step.logits_causal is None else step.logits_causal[row]
                views[face_id] = View(views[face_id].track, seen[row], early)
                better.add(face_id)
            elif face_id not in sure:
                gone.add(face_id)
        for place, ask in enumerate(wrong, len(again)):
            if ask.face_id in gone:
                ask.later_is_new, ask.logits = False, step.logits[place]
            elif ask.face_id in better:
                ask.logits = step.logits[rows[ask.face_id]]

    def _keep(self, tracks: list[Track], views: dict[int, View], gone: set[int], now_s: float) -> list[View]:
        """Tell the tracker; the views of the faces that stay, ascending by id."""
        for track in tracks:
            if track.id not in gone:
                seen = views[track.id].seen
                self.tracker.accept(track, seen.landmarks, seen.confidence, now_s)
            elif track in self.tracker.live:
                self.tracker.lose(track)
        doubles = {track.id for track in self.tracker.merge()}
        return [views[track.id] for track in tracks if track.id not in gone | doubles]
