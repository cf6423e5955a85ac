"""What becomes of a face by what finder and network saw: without a network, a picture or a finder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from aunet_sdk.bundle import Bundle
from aunet_sdk.faces.finders.base import FoundFace
from aunet_sdk.faces.plausibility import Drift
from aunet_sdk.faces.track_policy import TrackPolicy
from aunet_sdk.faces.tracker import Tracker

SIZE = (640, 480)
CENTRED = Drift(0.0, 1.0, 0.0, 0.0)
OFF = Drift(0.2, 1.0, 0.0, 0.0)
SHAPE = np.asarray(Bundle.load().points3d)[:, :2] * (1, -1)


@dataclass(frozen=True)
class Seen:
    landmarks: np.ndarray
    confidence: float
    drift: Drift = CENTRED


def at(x: float, confidence: float = 0.9, drift: Drift = CENTRED) -> Seen:
    """A face of about 60 px with its centre at x, 200."""
    flat = SHAPE - SHAPE.mean(axis=0)
    return Seen(flat * 60 / np.ptp(flat[:, 1]) + (x, 200), confidence, drift)


def policy_with(*places: float) -> tuple[TrackPolicy, Tracker]:
    tracker = Tracker(0.3)
    tracker.found([FoundFace(np.array([x - 30, 170, 60, 60.0]), 0.9) for x in places], 0.0)
    for track, x in zip(tracker.live, places, strict=True):
        tracker.accept(track, at(x).landmarks, 0.9, 0.0)
    return TrackPolicy(tracker), tracker


@pytest.mark.parametrize(
    "seen, saw, expected",
    [
        (at(100), False, "stays"),
        (at(100, drift=OFF), False, "recrop"),
        (at(100, confidence=0.1), True, "refind"),
        (at(100, confidence=0.1), False, "gone"),
        (at(900), True, "refind"),
        (at(900), False, "gone"),
    ],
)
def test_the_first_look_decides(seen: Seen, saw: bool, expected: str) -> None:
    policy, tracker = policy_with(100)
    sure = policy.sure({1: seen}, SIZE)
    verdict = policy.judge(tracker.live, {1: seen}, sure, {1} if saw else set(), SIZE)
    got = {name for name in ("recrop", "refind", "gone") if 1 in getattr(verdict, name)} or {"stays"}
    assert got == {expected}
    assert (1 in verdict.again) == (expected in ("recrop", "refind"))


@pytest.mark.parametrize("confidence, expected", [(0.25, False), (0.1, True)])
def test_a_face_that_begins_needs_less_with_the_finders_word(confidence: float, expected: bool) -> None:
    tracker = Tracker(0.3)
    tracker.found([FoundFace(np.array([70, 170, 60, 60.0]), 0.9)], 0.0)
    policy, seen = TrackPolicy(tracker), at(100, confidence)
    verdict = policy.judge(tracker.live, {1: seen}, policy.sure({1: seen}, SIZE), {1}, SIZE)
    assert (1 in verdict.gone) == expected


def test_the_second_look_counts_by_what_was_known_before() -> None:
    policy, _ = policy_with(100)
    assert policy.better(at(100), was_sure=True, size=SIZE)
    assert not policy.better(at(100, 0.25), was_sure=True, size=SIZE)
    assert policy.better(at(100, 0.25), was_sure=False, size=SIZE)


def test_what_stays_is_kept_and_of_two_on_one_face_the_older() -> None:
    policy, tracker = policy_with(100, 300, 500)
    tracks = policy.expected(0.04)
    kept = policy.keep(tracks, {1: at(100), 2: at(104), 3: at(500)}, {3}, 0.04)
    assert [track.id for track in kept] == [1]
    assert [track.id for track in tracker.lost] == [3, 2], (
        "the one that is hidden keeps its id for when it is seen again"
    )


def test_a_face_that_the_finder_denies_for_a_second_is_not_looked_for() -> None:
    policy, tracker = policy_with(100, 300)
    tracker.live[0].denied_s = 0.5
    assert [track.id for track in policy.expected(1.4)] == [1, 2]
    assert [track.id for track in policy.expected(1.5)] == [2]
