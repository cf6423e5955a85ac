"""Times of a stream on our clock: growing, even, never far off."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.sources.clock import LATE_FOR_S, StreamClock


def times(stream_s: list[float | None], arrived_s: list[float]) -> list[float]:
    clock = StreamClock()
    return [clock.time_s(one, two) for one, two in zip(stream_s, arrived_s, strict=True)]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e5, 1e5)), st.floats(0, 10), st.booleans()), min_size=1, max_size=60
    )
)
def test_they_grow_whatever_comes(steps: list[tuple[float | None, float, bool]]) -> None:
    clock, now_s, before_s = StreamClock(), 1000.0, float("-inf")
    for stream_s, waited_s, restart in steps:
        now_s += waited_s
        if restart:
            clock.restart()
        time_s = clock.time_s(stream_s, now_s)
        assert time_s > before_s
        before_s = time_s


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1e5), st.sampled_from([0.0, 1e-4, -1e-4]))
def test_jitter_on_the_way_does_not_show(seed: int, begin_s: float, drift: float) -> None:
    """25 frames a second for 40 s, each up to 80 ms late; a clock that is off by 100 ppm."""
    late_s = np.random.default_rng(seed).uniform(0, 0.08, 1000)
    made_s = np.arange(1000) / 25
    stream_s = begin_s + made_s * (1 + drift)
    got = np.array(times(list(stream_s), list(50 + made_s + late_s)))
    settled = got[250:]
    assert np.abs(np.diff(settled) - 0.04).max() < 0.021, "between half a step and a little more"
    assert np.median(np.abs(np.diff(settled) - 0.04)) < 1e-3
    assert np.abs(settled - (50 + made_s[250:])).max() < 0.09


def test_a_backlog_at_the_beginning_is_caught_up() -> None:
    """Half a second of frames comes at once, when the stream has been probed."""
    stream_s = [i / 25 for i in range(100)]
    arrived_s = [100 + max(0.5, t) for t in stream_s]
    got = times(list(stream_s), arrived_s)
    assert got[0] == 100.5 and all(b - a >= 0.0199 for a, b in itertools.pairwise(got))
    assert abs(got[-1] - arrived_s[-1]) < 1e-6


def test_a_jump_in_the_streams_time_is_none_in_ours() -> None:
    stream_s = [i / 25 for i in range(50)]
    for jump_s in (3600.0, -3600.0):
        jumped = stream_s[:25] + [t + jump_s for t in stream_s[25:]]
        got = times(list(jumped), [10 + t for t in stream_s])
        assert np.allclose(np.diff(got), 0.04)


def test_a_pause_on_the_way_keeps_the_times_of_the_stream() -> None:
    """Two seconds nothing comes, and then everything: the frames were taken evenly."""
    stream_s = [i / 25 for i in range(150)]
    arrived_s = [10 + (t if not 2 <= t < 4 else 4.0) for t in stream_s]
    assert np.allclose(np.diff(times(list(stream_s), arrived_s)), 0.04, atol=3e-3)


def test_a_stream_whose_clock_stood_still_is_not_late_for_ever() -> None:
    stream_s = [i / 25 for i in range(500)]
    arrived_s = [10 + t + (3.0 if t >= 2 else 0.0) for t in stream_s]
    got = times(list(stream_s), arrived_s)
    late_s = np.subtract(arrived_s, got)
    assert late_s[60] > 2.5 and late_s[int(25 * (2 + LATE_FOR_S)) + 30] == 0


def test_own_times_are_kept() -> None:
    clock = StreamClock()
    assert [clock.time_s(t, 5.0, own=True) for t in (0.0, 0.04, 7.0)] == [0.0, 0.04, 7.0]
    assert clock.time_s(7.0, 5.0, own=True) > 7.0
