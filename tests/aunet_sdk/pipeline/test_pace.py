"""Fewer frames than come: which of them are worked on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.pipeline.pace import Pace

from ..painted import paint, painted_detector


def taken(pace: Pace, times_s: list[float]) -> list[float]:
    found = []
    for time_s in times_s:
        if pace.due(time_s):
            found.append(time_s)
        pace.done(time_s)
    return found


def test_ten_of_twenty_five_frames_a_second() -> None:
    pace = Pace(10)
    times_s = [i / 25 for i in range(250)]
    found = taken(pace, times_s)
    assert len(found) == 100 and pace.passed_over == 150 and found[:4] == [0, 0.12, 0.2, 0.32]
    assert taken(Pace(None), times_s) == taken(Pace(25), times_s) == taken(Pace(100), times_s) == times_s


def test_after_a_gap_nothing_is_made_up_for() -> None:
    assert taken(Pace(10), [0, 5, 5.05, 5.1, 5.15]) == [0, 5, 5.1]


def test_a_time_that_does_not_grow_is_refused_of_frames_that_are_passed_over_too() -> None:
    pace = Pace(1)
    assert taken(pace, [0, 0.5]) == [0]
    with pytest.raises(InvalidInput, match=r"after 0\.5 s"):
        pace.due(0.5)
    pace.restart()
    assert pace.due(0.0)


@given(st.lists(st.floats(1e-3, 3), max_size=100), st.floats(0.1, 100))
def test_never_more_than_the_rate_and_never_a_needless_wait(steps_s: list[float], rate_hz: float) -> None:
    times_s = [sum(steps_s[:i]) for i in range(len(steps_s) + 1)]
    found = taken(Pace(rate_hz), times_s)
    assert found[0] == 0
    assert len(found) <= times_s[-1] * rate_hz * (1 + 1e-3) + 1
    for time_s in times_s:
        before = max(t for t in found if t <= time_s)
        assert time_s - before < 1 / rate_hz + 1e-3


def test_the_detector_passes_frames_over_and_keeps_their_numbers() -> None:
    with painted_detector(look_ahead="none", rate_hz=10, smoothing="one-euro") as detector:
        results = [r for i in range(26) for r in detector.push(paint((100 + i, 100, 60), background=i), i / 25)]
        assert [r.index for r in results] == [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
        assert detector.frames_passed_over == 15 and {face.id for r in results for face in r.faces} == {1}
        detector.flush()
        assert detector.push(paint(), 0.0)[0].index == 0
