"""Blinks, smiles and attention of people whose faces are of our own making."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.post.activity import Activity, ActivityTracker
from aunet_sdk.post.blinks import BlinkCounter, eye_openness
from aunet_sdk.post.windows import WindowSum
from aunet_sdk.results import Face, FrameResult, HeadPose

from ..scripted import face

FPS = 30.0


def with_eyes(openness: float, face_id: int = 1, smile: float = 0.1, yaw_deg: float = 0.0, size: float = 30.0) -> Face:
    """A face whose eyes are `size` px wide and open by this share of it."""
    made = face(face_id, probabilities=[smile], au_names=("AU12",))
    points = made.landmarks.copy()
    half = openness * size / 2
    for first, x in ((36, 50.0), (42, 100.0)):
        points[first : first + 6] = [
            (x, 60),
            (x + size / 3, 60 - half),
            (x + 2 * size / 3, 60 - half),
            (x + size, 60),
            (x + 2 * size / 3, 60 + half),
            (x + size / 3, 60 + half),
        ]
    return replace(made, landmarks=points, pose=HeadPose(yaw_deg, 0, 0))


def watch(faces: list[Face | None], tracker: ActivityTracker | None = None) -> list[Activity]:
    tracker = tracker if tracker is not None else ActivityTracker()
    seen = []
    for i, one in enumerate(faces):
        seen += tracker.update(FrameResult(i, i / FPS, 320, 240, () if one is None else (one,)))
    return seen


def eyes(blink_every_s: float, seconds: float, frames_shut: int = 4, open_level: float = 0.3) -> list[Face | None]:
    every = round(blink_every_s * FPS)
    return [
        with_eyes(open_level * (0.6 if i % every < frames_shut and i >= every else 1))
        for i in range(round(seconds * FPS))
    ]


def test_the_openness_is_height_over_width() -> None:
    assert eye_openness(with_eyes(0.27).landmarks) == pytest.approx(0.27)
    assert math.isnan(eye_openness(np.zeros((68, 2))))


@pytest.mark.parametrize("open_level", [0.25, 0.4])
def test_blinks_are_counted_against_the_persons_own_open_eye(open_level: float) -> None:
    last = watch(eyes(3.0, 31, open_level=open_level))[-1]
    assert last.blinks == 10
    assert last.blinks_per_minute == pytest.approx(20, rel=0.1)
    assert last.eyes_closed is False


def test_closed_eyes_do_not_blink() -> None:
    seen = watch(eyes(5.0, 24, frames_shut=40))
    assert seen[-1].blinks == 0
    assert any(one.eyes_closed for one in seen)


def test_what_trembles_around_the_limit_is_hardly_ever_a_blink() -> None:
    """Eyes that shut after a while and read .20 with noise, against .25 when cast down. One that stays open for 0.1 s
    by chance looks like a blink; the crossings of the limit, ten and more, do not."""
    noise = np.random.default_rng(0).normal(0.2, 0.015, 150)
    seen = watch([with_eyes(0.25) for _ in range(60)] + [with_eyes(float(value)) for value in noise])
    states = [one.eyes_closed for one in seen if one.eyes_closed is not None]
    assert sum(a != b for a, b in pairwise(states)) >= 10
    assert seen[-1].blinks <= 1


def test_eyes_that_were_never_seen_open_are_not_judged() -> None:
    """A weeping woman's shut eyes read .20 with a noise that looked like three blinks."""
    noise = np.random.default_rng(0).normal(0.2, 0.03, 200)
    seen = watch([with_eyes(float(value)) for value in noise])
    assert seen[-1].blinks == 0 and all(one.eyes_closed is None for one in seen)


def test_no_rate_before_the_eyes_were_watched_long_enough_nor_of_a_face_that_is_turned_away() -> None:
    assert watch(eyes(3.0, 9))[-1].blinks_per_minute is None
    turned = [with_eyes(0.3 if i % 60 > 4 else 0.1, yaw_deg=50.0) for i in range(900)]
    last = watch(turned)[-1]
    assert (last.blinks, last.blinks_per_minute, last.eyes_closed) == (0, None, None)
    tiny = watch([with_eyes(0.3 if i % 60 > 4 else 0.1, size=5.0) for i in range(900)])[-1]
    assert (tiny.blinks, tiny.eyes_closed) == (0, None)


def test_where_the_model_has_au45_it_decides() -> None:
    def one(i: int, frames: int) -> Face:
        blink = 0.9 if 30 <= i % 90 < 30 + frames else 0.1
        made = face(1, probabilities=[0.1, blink], au_names=("AU12", "AU45"))
        return replace(made, landmarks=with_eyes(0.3).landmarks, pose=HeadPose(0, 0, 0))

    for frames, blinks in ((6, 10), (1, 10), (30, 0)):  # a second is none: the eyes are shut
        assert watch([one(i, frames) for i in range(900)])[-1].blinks == blinks


def test_smile_time_and_attention_are_of_the_window() -> None:
    tracker = ActivityTracker(window_s=10)
    faces: list[Face | None] = [with_eyes(0.3, smile=0.9, yaw_deg=40) for _ in range(round(4 * FPS))]
    faces += [with_eyes(0.3, smile=0.1) for _ in range(round(8 * FPS))]
    seen = watch(faces, tracker)
    assert seen[round(4 * FPS) - 1].smile_s == pytest.approx(4, abs=0.2)
    assert seen[round(4 * FPS) - 1].attention_s == 0 and not seen[round(4 * FPS) - 1].facing
    assert seen[-1].smile_s == pytest.approx(2, abs=0.3), "the first two seconds have left the window"
    assert seen[-1].attention_s == pytest.approx(8, abs=0.2) and seen[-1].facing
    assert seen[-1].attention_total_s == pytest.approx(8, abs=0.2)


def test_facing_does_not_flicker_at_its_limit() -> None:
    seen = watch([with_eyes(0.3, yaw_deg=yaw) for yaw in [0, 19, 22, 24, 22, 26, 24, 22, 19]])
    assert [one.facing for one in seen] == [True, True, True, True, True, False, False, False, True]


def test_a_model_without_au12_has_no_smile_time() -> None:
    plain = face(1, probabilities=[0.1], au_names=("AU1",))
    assert watch([plain] * 10)[-1].smile_s is None


def test_a_gap_counts_for_nothing_and_people_are_forgotten() -> None:
    tracker = ActivityTracker(max_gap_s=1.0)
    assert watch([with_eyes(0.3)] * 60, tracker)[-1].seen_s == pytest.approx(59 / FPS)
    assert tracker.update(FrameResult(0, 60.0, 320, 240)) == [] and len(tracker) == 0
    (again,) = tracker.update(FrameResult(1, 60.1, 320, 240, (with_eyes(0.3),)))
    assert again.seen_s == again.attention_total_s == 0
    with pytest.raises(InvalidInput, match="clear"):
        tracker.update(FrameResult(2, 60.1, 320, 240))
    tracker.clear()
    assert len(tracker.update(FrameResult(0, 0.0, 320, 240, (with_eyes(0.3),)))) == 1


def test_provisional_results_change_nothing() -> None:
    tracker = ActivityTracker()
    early = FrameResult(0, 5.0, 320, 240, (replace(with_eyes(0.3), provisional=True),), provisional=True)
    assert tracker.update(early) == [] and len(tracker) == 0


@pytest.mark.parametrize("wrong", [{"window_s": 0}, {"yaw_deg": 91}, {"smile": math.nan}, {"max_gap_s": -1}])
def test_numbers_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="expected a number"):
        ActivityTracker(**wrong)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 10)), max_size=200), st.floats(1, 100))
def test_a_window_holds_what_it_should_in_bounded_memory(moves: list[tuple[float, float]], window_s: float) -> None:
    window, time_s, all_of_it = WindowSum(window_s, steps=20), 0.0, []
    for step_s, amount in moves:
        time_s += step_s
        window.add(time_s, amount)
        all_of_it.append((time_s, amount))
        assert len(window) <= 21
        least = sum(a for t, a in all_of_it if t > time_s - window_s)
        most = sum(a for t, a in all_of_it if t >= time_s - window_s * 21 / 20 - 1e-6)
        assert least - 1e-6 <= window.total(time_s) <= most + 1e-6
    assert window.total(time_s + 1.1 * window_s + 1e-6) == 0


@given(st.lists(st.tuples(st.floats(1e-3, 2), st.floats(0, 1), st.floats(-60, 60)), max_size=60))
def test_a_blink_is_told_of_eyes_that_shut_and_are_open(samples: list[tuple[float, float, float]]) -> None:
    """Whatever comes: a blink is told of eyes that are open, and after each the eyes were shut again."""
    counter, time_s, shut = BlinkCounter(), 0.0, False
    for step_s, openness, yaw_deg in samples:
        time_s += step_s
        if counter.update(with_eyes(openness, yaw_deg=yaw_deg), time_s):
            assert shut and counter.closed is False
            shut = False
        shut = shut or counter.closed is True
