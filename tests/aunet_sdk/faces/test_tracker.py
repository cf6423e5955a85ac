"""The tracker's decisions, told by hand what the finder and the network saw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.faces import FoundFace, Tracker, boxes
from aunet_sdk.faces.plausibility import box_of, size_of


def found(x: float, y: float, size: float = 40, score: float = 0.9) -> FoundFace:
    return FoundFace(np.array([x - size / 2, y - size / 2, size, size]), score)


def landmarks(x: float, y: float, size: float = 40) -> np.ndarray:
    """68 points whose box has this centre and size, more or less."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2))
    points[:4] = (-0.5, -0.13), (0.5, -0.13), (-0.5, 0.5), (0.5, 0.5)
    points[:, 1] = np.clip(points[:, 1], -0.13, 0.5)
    return points * size + (x, y)


def follow(tracker: Tracker, time_s: float) -> None:
    for track in list(tracker.live):
        x, y, width, height = track.box
        tracker.accept(track, landmarks(x + width / 2, y + height / 2, size_of(track.box)), 0.8, time_s)


def test_ids_begin_at_one_and_largest_first() -> None:
    tracker = Tracker(0.3)
    assert tracker.found([found(50, 50, 30), found(150, 50, 60)], 0.0) == {1, 2}
    assert [round(size_of(t.box)) for t in tracker.live] == [60, 30]
    assert all(track.restart for track in tracker.live)


def test_a_known_face_is_confirmed_and_not_begun_again() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, 0.0)
    assert tracker.found([found(55, 52, 44, score=0.7)], 0.5) == {1}
    (track,) = tracker.live
    assert (track.finder_score, track.confirmed_s, track.denied_s, track.restart) == (0.7, 0.5, None, False)


def test_a_known_face_whose_box_moved_away_starts_anew_from_it() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, 0.0)
    assert tracker.found([found(50, 50, 90)], 0.5) == {1}
    (track,) = tracker.live
    assert track.restart and size_of(track.box) == 90


def test_the_nearest_box_goes_to_each_track() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50), found(80, 50)], 0.0)
    follow(tracker, 0.0)
    tracker.found([found(84, 50, score=0.6), found(54, 50, score=0.7)], 0.5)
    assert [track.finder_score for track in tracker.live] == [0.7, 0.6]


def test_denial_begins_with_the_first_miss_and_ends_with_a_hit() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, 0.0)
    (track,) = tracker.live
    assert tracker.found([], 0.5) == set()
    assert not tracker.denied_too_long(track, 1.4)
    assert tracker.denied_too_long(track, 1.5)
    assert track.score(1.5) < track.score(0.5)
    tracker.found([found(50, 50)], 1.2)
    assert not tracker.denied_too_long(track, 9.0)


@pytest.mark.parametrize("now_s, expected", [(0.0, False), (0.1, False), (0.49, False), (0.5, True), (0.7, True)])
def test_the_finder_is_due_by_the_interval(now_s: float, expected: bool) -> None:
    tracker = Tracker(0.3, detect_interval_s=0.5)
    assert tracker.finder_due(0.0)
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, now_s)
    assert tracker.finder_due(now_s) == expected


def test_the_finder_is_due_on_every_frame_without_a_face_and_after_a_loss() -> None:
    tracker = Tracker(0.3)
    tracker.found([], 0.0)
    assert tracker.finder_due(0.01)
    tracker.found([found(50, 50), found(150, 50)], 0.02)
    follow(tracker, 0.02)
    assert not tracker.finder_due(0.03)
    tracker.lose(tracker.live[0])
    assert tracker.finder_due(0.04)
    tracker.found([found(150, 50)], 1.6)
    follow(tracker, 1.6)
    assert not tracker.finder_due(1.61)  # too long ago to wait for


@pytest.mark.parametrize(
    "face, time_s, expected",
    [
        (found(60, 50), 1.0, 1),
        (found(60, 50), 2.0, 2),
        (found(150, 50), 1.0, 2),
        (found(60, 50, 90), 1.0, 2),
        (found(60, 50, 20), 1.0, 2),
    ],
    ids=["near and soon", "late", "far", "much larger", "much smaller"],
)
def test_a_lost_face_keeps_its_id_if_it_is_near_and_soon(face: FoundFace, time_s: float, expected: int) -> None:
    tracker = Tracker(0.3)
    tracker.min_face_px = 8
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, 0.0)
    tracker.lose(tracker.live[0])
    tracker.finder_due(time_s)
    assert tracker.found([face], time_s) == {expected}


def test_the_younger_of_two_tracks_on_one_face_goes() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50), found(120, 50)], 0.0)
    for track in tracker.live:
        tracker.accept(track, landmarks(50, 50), 0.8, 0.0)
    assert [track.id for track in tracker.merge()] == [2]
    assert [track.id for track in tracker.live] == [1]


@given(st.integers(0, 1), st.booleans(), st.floats(80, 400))
def test_two_people_who_meet_keep_their_ids(front: int, turns: bool, speed: float) -> None:
    """They pass each other, or meet and turn back, one in front of the other. Who is behind is found no longer, and the
    network, asked for that face, sees the one in front."""
    tracker, steps = Tracker(0.3), round(400 / speed * 25)
    for i in range(steps + 1):
        time_s, way = i / 25, i / steps
        way = min(way, 1 - way) if turns else way
        people = [100 + 200 * way, 300 - 200 * way]
        shown = [front] if abs(people[0] - people[1]) < 24 else [0, 1]
        if tracker.finder_due(time_s):
            tracker.found([found(people[one], 50) for one in shown], time_s)
        for track in list(tracker.live):
            here = track.box[0] + track.box[2] / 2
            nearest = min((people[one] for one in shown), key=lambda x: abs(x - here))
            tracker.accept(track, landmarks(nearest, 50), 0.8, time_s)
        tracker.merge()
        if len(shown) == 1 and i % 9 == 0:
            assert len(tracker.live) == 1
    assert [(track.id, round(track.box[0] + 20)) for track in tracker.live] == [
        (1 + one, round(people[one])) for one in (0, 1)
    ]


def test_a_box_on_a_followed_face_begins_nothing() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50)], 0.0)
    follow(tracker, 0.0)
    assert tracker.found([found(50, 50), found(53, 50)], 0.5) == {1}
    assert len(tracker.live) == 1


def test_small_faces_are_passed_over_and_too_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(0.3, max_faces=2, min_face_px=30)
    tracker.found([found(50, 50, 20), found(150, 50, 40), found(250, 50, 50), found(350, 50, 60)], 0.0)
    assert [round(size_of(track.box)) for track in tracker.live] == [60, 50]
    assert tracker.left_out == 1
    tracker.found([found(50, 50, 20), found(150, 50, 40), found(250, 50, 50), found(350, 50, 60)], 0.5)
    assert tracker.left_out == 2
    assert [record.message.split(":")[0] for record in caplog.records] == ["more faces in view than max_faces=2"]


def test_a_snapshot_puts_tracks_and_counts_back() -> None:
    """For a frame that fails on its way; before, its effect on the tracks stayed."""
    tracker = Tracker(0.3, max_faces=2)
    tracker.found([found(50, 50), found(250, 50)], 0.0)
    for track in tracker.live:
        tracker.accept(track, landmarks(*(track.box[:2] + track.box[2:] / 2)), 0.9, 0.0)
    tracker.lose(tracker.live[1])
    before = [
        (track.id, track.box.tolist(), track.confirmed_s, track.restart) for track in (*tracker.live, *tracker.lost)
    ]
    restore = tracker.snapshot()
    tracker.found([found(250, 50), found(450, 50), found(650, 50)], 0.5)
    tracker.accept(tracker.live[0], landmarks(60, 50), 0.5, 0.5)
    tracker.merge()
    restore()
    after = [
        (track.id, track.box.tolist(), track.confirmed_s, track.restart) for track in (*tracker.live, *tracker.lost)
    ]
    assert before == after and tracker.left_out == 0 and tracker.finder_due(0.1)
    assert tracker.found([found(650, 50)], 0.6) == {3}


def test_the_score_joins_finder_and_landmarks() -> None:
    tracker = Tracker(0.3)
    tracker.found([found(50, 50, score=0.81)], 0.0)
    (track,) = tracker.live
    tracker.accept(track, landmarks(50, 50), 1.0, 0.0)
    assert track.score(0.0) == pytest.approx(0.9)
    track.confidence = 0.25
    assert track.score(0.0) == pytest.approx(0.45)
    track.denied_s = 1.0
    assert track.score(2.0) == pytest.approx(0.45 / np.sqrt(2))


positions = st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(24, 120))


@given(st.lists(st.tuples(st.lists(positions, max_size=5), st.integers(0, 5), st.booleans()), max_size=12))
def test_whatever_comes_ids_stay_unique_and_within_the_limit(
    frames: list[tuple[list[tuple[float, float, float]], int, bool]],
) -> None:
    tracker = Tracker(0.3, max_faces=3)
    used: set[int] = set()
    for i, (faces, lose, accept) in enumerate(frames):
        now_s = 0.3 * i
        tracker.finder_due(now_s)
        before = {track.id for track in tracker.live} | {track.id for track in tracker.lost}
        seen = tracker.found([found(*face) for face in faces], now_s)
        ids = [track.id for track in tracker.live]
        assert len(ids) <= 3 and ids == sorted(set(ids)) and not set(ids) & {track.id for track in tracker.lost}
        assert not (set(ids) - before) & used
        used |= set(ids)
        assert seen >= set(ids) - before
        if accept:
            follow(tracker, now_s)
            tracker.merge()
        for track in tracker.live[:lose]:
            tracker.lose(track)
    assert all(np.isfinite(box_of(t.landmarks)).all() for t in tracker.live if t.landmarks is not None)


def test_without_the_kernel_it_decides_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty faces that wander through each other, some unseen for a while, followed twice."""

    def run() -> list[tuple]:
        rng = np.random.default_rng(0)
        tracker = Tracker(0.3, max_faces=32)
        places, story = rng.uniform(0, 400, (40, 2)), []
        for i in range(20):
            now_s = 0.2 * i
            tracker.finder_due(now_s)
            places = places + rng.normal(0, 8, places.shape)
            faces = [found(x, y, 30 + j % 7 * 5) for j, (x, y) in enumerate(places.tolist()) if (i + j) % 5]
            seen = tracker.found(faces, now_s)
            follow(tracker, now_s)
            dropped = [track.id for track in tracker.merge()]
            for track in tracker.live[i % 3 :: 9]:
                tracker.lose(track)
            story.append((seen, dropped, [(track.id, *track.box.tolist()) for track in tracker.live]))
        return story

    first = run()
    monkeypatch.setattr(boxes, "_kernel", None)
    assert run() == first and any(dropped for _, dropped, _ in first)


def test_every_second_look_is_quick_while_all_is_well() -> None:
    """One face of 160 px in a frame of 640: 48 px in a quick look at 192 px."""
    tracker = Tracker(0.3, detect_interval_s=0.5)
    assert tracker.finder_due(0.0) and tracker.look_px(320, 640, 0.0) == 320, "nothing is known yet"
    tracker.found([found(200, 200, 160)], 0.0)
    follow(tracker, 0.0)
    assert tracker.look_px(320, 640, 0.5) == 192
    tracker.found([found(200, 200, 160)], 0.5, full=False)
    follow(tracker, 0.5)
    assert tracker.look_px(320, 640, 1.0) == 320, "the one before was quick"
    tracker.found([found(200, 200, 160)], 1.0)
    assert tracker.look_px(320, 640, 1.2) == 320, "the interval of full looks"
    assert tracker.look_px(320, 640, 1.5) == 192


@pytest.mark.parametrize("trouble", ["small", "denied", "lost", "nobody"])
def test_a_full_look_where_a_quick_one_could_miss(trouble: str) -> None:
    tracker = Tracker(0.3, detect_interval_s=0.5)
    assert tracker.finder_due(0.0)
    faces = [] if trouble == "nobody" else [found(200, 200, 160), found(500, 200, 60 if trouble == "small" else 160)]
    tracker.found(faces, 0.0)
    follow(tracker, 0.0)
    if trouble == "denied":
        tracker.found(faces[:1], 0.5)
    if trouble == "lost":
        tracker.lose(tracker.live[1])
    assert tracker.look_px(320, 640, 0.7) == 320
