"""Zones: what is inside, who comes and leaves, and for how long they stayed."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.post.zones import Zone, ZoneEvent, ZoneTracker
from aunet_sdk.results import FrameResult

from ..scripted import face

FPS = 10.0
LEFT = Zone("left", [(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
DOOR = Zone("door", [(200, 0), (320, 0), (320, 240), (200, 240)], relative=False)


def run(tracker: ZoneTracker, places: list[float | None], face_id: int = 1) -> list[ZoneEvent]:
    """The events of a face whose centre is at these x in turn, 10 times a second; None: it is not there."""
    events = []
    for i, x in enumerate(places):
        faces = () if x is None else (face(face_id, (x - 20, 80, 40, 40)),)
        events += tracker.update(FrameResult(i, i / FPS, 320, 240, faces))
    return events


def test_somebody_walks_through_two_zones() -> None:
    tracker = ZoneTracker([LEFT, DOOR])
    events = run(tracker, [60.0] * 20 + [180.0] * 10 + [260.0] * 20) + tracker.flush()
    told = [(e.kind, e.zone, e.face, round(e.timestamp_s * FPS), round(e.dwell_s * FPS)) for e in events]
    assert told == [
        ("enter", "left", 1, 0, 0),
        ("leave", "left", 1, 20, 20),
        ("enter", "door", 1, 30, 0),
        ("leave", "door", 1, 49, 19),
    ]


def test_a_step_over_the_line_and_back_is_no_leaving() -> None:
    tracker = ZoneTracker([LEFT], min_pause_s=0.5)
    assert len(run(tracker, [150.0] * 10 + [165.0] * 4 + [150.0] * 10)) == 1
    assert tracker.dwell_s == {"left": {1: pytest.approx(2.3)}}


def test_a_lost_person_left_when_last_seen() -> None:
    tracker = ZoneTracker([LEFT], max_gap_s=1.0)
    events = run(tracker, [60.0] * 10 + [None] * 5 + [60.0] * 5 + [None] * 20)
    assert [(e.kind, round(e.timestamp_s * FPS)) for e in events] == [("enter", 0), ("leave", 19)]
    assert len(tracker) == 0


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=8, unique=True),
    st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_inside_is_what_opencv_calls_inside_of_convex_polygons(
    points: list[tuple[int, int]], point: tuple[int, int]
) -> None:
    hull = cv2.convexHull(np.array(points, np.float32))[:, 0]
    assume(len(hull) >= 3)
    side = cv2.pointPolygonTest(hull, (float(point[0]), float(point[1])), False)
    assume(side != 0)
    assert Zone("z", hull, relative=False).contains(point, 100, 100) == (side > 0)


def test_a_concave_zone_and_one_in_shares_of_the_frame() -> None:
    bracket = [(0, 0), (1, 0), (1, 1), (0.75, 1), (0.75, 0.25), (0.25, 0.25), (0.25, 1), (0, 1)]
    zone = Zone("bracket", bracket)
    assert zone.contains((100, 10), 200, 100) and zone.contains((10, 90), 200, 100)
    assert not zone.contains((100, 90), 200, 100)
    pixels = Zone("same", np.multiply(bracket, (200, 100)), relative=False)
    rng = np.random.default_rng(0)
    for point in rng.uniform((0, 0), (200, 100), (200, 2)):
        assert zone.contains(point, 200, 100) == pixels.contains(point, 1, 1)


def test_provisional_results_change_nothing_and_times_grow() -> None:
    tracker = ZoneTracker([LEFT])
    assert tracker.update(FrameResult(0, 0.0, 320, 240, (face(),), provisional=True)) == []
    run(tracker, [60.0] * 3)
    with pytest.raises(InvalidInput, match="flush"):
        run(tracker, [60.0])
    tracker.flush()
    assert len(run(tracker, [60.0])) == 1


@pytest.mark.parametrize(
    "points, relative",
    [
        ([(0, 0), (1, 1)], True),
        ([(0, 0, 0)] * 3, True),
        ([(0, 0), (1, 0), (1, math.nan)], True),
        ("abc", True),
        ([(0, 0), (300, 0), (300, 200)], True),
    ],
)
def test_what_is_no_zone(points: object, relative: bool) -> None:
    with pytest.raises(InvalidInput, match="zone 'z': expected"):
        Zone("z", points, relative)  # type: ignore[arg-type]


def test_names_and_times_are_checked() -> None:
    with pytest.raises(InvalidInput, match="distinct names"):
        ZoneTracker([LEFT, LEFT])
    with pytest.raises(InvalidInput, match="60 s"):
        ZoneTracker([LEFT], max_gap_s=math.nan)
