"""What becomes of the faces that are followed, by what finder and network saw of them in one frame.

It decides alone: it holds no picture, runs no network and asks no question. The tracker keeps the tracks; who looks at
the crops (pipeline/face_step.py) brings the evidence and does what the verdict says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .plausibility import Drift
from .tracker import Track, Tracker

__all__ = ["Evidence", "TrackPolicy", "Verdict"]


class Evidence(Protocol):
    """What the network saw in one crop."""

    @property
    def landmarks(self) -> np.ndarray:
        """(68, 2) float64 px of the frame."""
        ...

    @property
    def confidence(self) -> float:
        """Mean of the landmarks', 0..1."""
        ...

    @property
    def drift(self) -> Drift:
        """Of the five points in the crop."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """By ids of faces, after the first look. A face in none of the sets is where it was expected."""

    recrop: frozenset[int]
    """sure, but too far from where the crop was taken: look once more, around these landmarks"""
    refind: frozenset[int]
    """unsure, but the finder sees it: look once more, around what the finder saw"""
    gone: frozenset[int]
    """no face any more"""

    @property
    def again(self) -> frozenset[int]:
        """Those to be looked at once more."""
        return self.recrop | self.refind


class TrackPolicy:
    """The rules of one stream's faces.

    Args:
        tracker: of the same stream; `keep` changes it.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def expected(self, now_s: float) -> list[Track]:
        """The tracks to look for in the frame of this time, ascending by id; those that the finder has denied for too
        long are lost first."""
        for track in [track for track in self._tracker.live if self._tracker.denied_too_long(track, now_s)]:
            self._tracker.lose(track)
        return list(self._tracker.live)

    def sure(self, evidence: Mapping[int, Evidence], size: tuple[int, int]) -> set[int]:
        """Ids of the faces that count without the finder's word; `size` is the frame's width and height in px."""
        return {face_id for face_id, seen in evidence.items() if self._holds(seen, size, sure=True)}

    def passable(self, seen: Evidence, size: tuple[int, int]) -> bool:
        """Whether a crop around the finder's box shows enough to go on from its landmarks."""
        return self._holds(seen, size, sure=False)

    def judge(
        self,
        tracks: Sequence[Track],
        evidence: Mapping[int, Evidence],
        sure: Set[int],
        saw: Set[int],
        size: tuple[int, int],
    ) -> Verdict:
        """After the first look.

        Args:
            tracks: that were looked for; some may have lost their place in the tracker meanwhile.
            evidence: by id, of all of them.
            sure: from `sure`; saw: ids that the finder saw in this frame.
        """
        recrop, refind, gone = set(), set(), set()
        for track in tracks:
            seen = evidence[track.id]
            if track not in self._tracker.live or not (track.id in sure or track.id in saw):
                gone.add(track.id)
            elif track.id in sure:
                if seen.drift.too_far:
                    recrop.add(track.id)
            elif not track.restart:
                refind.add(track.id)
            elif not self.passable(seen, size):
                gone.add(track.id)
        return Verdict(frozenset(recrop), frozenset(refind), frozenset(gone))

    def better(self, seen: Evidence, was_sure: bool, size: tuple[int, int]) -> bool:
        """Whether the second look at a face counts in place of the first. Where it does not and the face was not sure
        before, the face is gone."""
        return self._holds(seen, size, sure=was_sure)

    def keep(
        self, tracks: Sequence[Track], evidence: Mapping[int, Evidence], gone: Set[int], now_s: float
    ) -> list[Track]:
        """Tell the tracker; the tracks that stay, ascending by id, of two on one face the older."""
        for track in tracks:
            if track.id not in gone:
                seen = evidence[track.id]
                self._tracker.accept(track, seen.landmarks, seen.confidence, now_s)
            elif track in self._tracker.live:
                self._tracker.lose(track)
        doubles = {track.id for track in self._tracker.merge()}
        return [track for track in tracks if track.id not in gone and track.id not in doubles]

    def _holds(self, seen: Evidence, size: tuple[int, int], *, sure: bool) -> bool:
        rule = self._tracker.sure if sure else self._tracker.passable
        return rule(seen.landmarks, seen.confidence, seen.drift, *size)
