"""TemporalBuffer: neighbours by time, against a rule written down a second time in the plainest way."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import InvalidInput
from aunet_sdk.pipeline.temporal import Due, TemporalBuffer
from aunet_sdk.results import Context

INTERVAL_S = 0.4
RATES = (15, 24, 25, 29.97, 30, 60)


def run(times: list[float], look_ahead: str = "full", **kwargs) -> list[Due[int]]:
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, look_ahead, **kwargs)
    dues = [due for i, time_s in enumerate(times) for due in buffer.add(time_s, i)]
    return dues + buffer.flush()


def key(due: Due[int]) -> tuple:
    return due.timestamp_s, due.item, due.former, due.later, due.context, due.provisional


def neighbour(times: list[float], i: int, wanted_s: float, earlier: bool) -> int | None:
    """The rule of the contract over a list: nearest, not frame i itself, at most 1.5 periods off."""
    if len(times) < 2:
        return None
    candidates = [k for k in range(len(times)) if k == i or (k < i) == earlier]
    best = min(candidates, key=lambda k: (abs(times[k] - wanted_s), k == i))
    period_s = median(np.diff(times)[-15:])
    return None if best == i or abs(times[best] - wanted_s) > 1.5 * period_s + 1e-6 else best


def by_the_rule(times: list[float]) -> list[tuple]:
    """All final results of look-ahead "full"."""
    results = []
    for i, time_s in enumerate(times):
        seen = next((n for n in range(len(times)) if times[n] >= time_s + INTERVAL_S - 1e-6), len(times) - 1)
        there = times[: seen + 1]
        former = neighbour(there, i, time_s - INTERVAL_S, True)
        later = neighbour(there, i, time_s + INTERVAL_S, False)
        context = {(0, 0): "none", (1, 0): "past", (0, 1): "future", (1, 1): "full"}
        results.append((time_s, i, former, later, context[former is not None, later is not None], False))
    return results


@st.composite
def videos(draw: st.DrawFn) -> list[float]:
    """Timestamps at a known rate, jittered, with frames dropped, from any start."""
    period_s = 1 / draw(st.sampled_from(RATES))
    count = draw(st.integers(1, 90))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    times = draw(st.sampled_from([0.0, -3.0, 86400.0 * 30])) + np.arange(count) * period_s
    times = times + random.uniform(-0.45, 0.45, count) * draw(st.sampled_from([0, 0.1, 1])) * period_s
    kept = random.random(count) >= draw(st.sampled_from([0, 0.05, 0.5]))
    kept[0] = True
    return times[kept].tolist()


@given(videos())
def test_full_follows_the_rule(times):
    assert [key(due) for due in run(times)] == by_the_rule(times)


@given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40))
def test_full_follows_the_rule_at_any_differences(differences):
    times = np.cumsum(differences).tolist()
    assert [key(due) for due in run(times)] == by_the_rule(times)


@given(videos())
def test_both_is_none_and_full(times):
    dues = run(times, "both")
    assert [key(due) for due in dues if not due.provisional] == by_the_rule(times)
    early, causal = [due for due in dues if due.provisional], run(times, "none")
    assert [key(due)[:-1] for due in early] == [key(due)[:-1] for due in causal]
    assert not any(due.provisional for due in causal)
    for i, due in enumerate(causal):
        assert due.item == i and due.later is None
        assert due.former == neighbour(times[: i + 1], i, times[i] - INTERVAL_S, True)
        assert due.context is (Context.NONE if due.former is None else Context.PAST)


@pytest.mark.parametrize("rate", RATES)
def test_the_interval_is_kept_at_every_rate(rate):
    times = [i / rate for i in range(int(4 * rate))]
    dues = run(times)
    assert [due.item for due in dues] == list(range(len(times)))
    for due in dues:
        inside = 0.41 < due.timestamp_s < times[-1] - 0.41
        if inside:
            assert due.context is Context.FULL
        for other, sign in ((due.former, -1), (due.later, 1)):
            if other is not None:
                off_s = abs(times[other] - due.timestamp_s - sign * INTERVAL_S)
                assert off_s <= (0.5 if inside else 1.5) / rate + 1e-6
    assert dues[0].context is Context.FUTURE and dues[-1].context is Context.PAST


def test_25_fps_is_the_papers_ten_frames():
    dues = run([i / 25 for i in range(50)])
    assert all((due.former, due.later) == (due.item - 10, due.item + 10) for due in dues[10:-10])


def test_a_frame_comes_out_when_its_future_is_there():
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S)
    out = [(i, due.item) for i in range(30) for due in buffer.add(i / 25, i)]
    assert out == [(i, i - 10) for i in range(10, 30)]


def test_order_of_both():
    """Final results of earlier frames first, then the new frame's own."""
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, "both")
    for i in range(20):
        dues = [(due.item, due.provisional) for due in buffer.add(i / 25, i)]
        assert dues == ([(i - 10, False)] if i >= 10 else []) + [(i, True)]


def test_a_long_gap_leaves_no_neighbours_across_it():
    times = [i / 30 for i in range(30)] + [100 + i / 30 for i in range(30)]
    dues = run(times)
    assert [due.item for due in dues] == list(range(60))
    for due in dues:
        for other in (due.former, due.later):
            assert other is None or (other < 30) == (due.item < 30)


def test_single_frame_and_slow_video():
    assert [key(due) for due in run([5.0])] == [(5.0, 0, None, None, "none", False)]
    assert all(due.context is Context.NONE for due in run([0.0, 1.0, 2.0, 3.0]))  # the frame itself is nearer
    assert [due.context for due in run([0.0, 0.5, 1.0])] == ["future", "full", "past"]


@pytest.mark.parametrize("look_ahead", ["full", "none", "both"])
def test_memory_is_bounded_over_a_long_video(look_ahead):
    gone: list[int] = []
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, look_ahead, on_evict=gone.append)
    random = np.random.default_rng(0)
    time_s, largest, out = 0.0, 0, 0
    for i in range(100_000):
        time_s += random.uniform(0.5, 1.5) / 30 + (10.0 if i % 9999 == 5000 else 0.0)
        out += len(buffer.add(time_s, i))
        largest = max(largest, len(buffer))
    out += len(buffer.flush())
    assert largest <= 2 * INTERVAL_S * 30 * 1.5 + 5
    assert out == (200_000 if look_ahead == "both" else 100_000)
    assert gone == list(range(100_000)) and len(buffer) == 0


@given(videos(), st.integers(0, 80), st.sampled_from(["full", "none", "both"]))
def test_evicted_items_never_come_back(times, _, look_ahead):
    gone: set[int] = set()
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, look_ahead, on_evict=gone.add)
    for i, time_s in enumerate(times):
        before = set(gone)
        for due in buffer.add(time_s, i):
            assert not before & {due.item, due.former, due.later}


@given(
    videos(),
    st.sampled_from(["full", "none", "both"]),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1e-9, -100.0, "soon", None]),
    st.integers(1, 89),
)
def test_an_invalid_timestamp_leaves_the_buffer_as_it_was(times, look_ahead, bad, at):
    """Numbers that are finite here are relative to the last time: equal to it or before it."""
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, look_ahead)
    dues = []
    for i, time_s in enumerate(times):
        if i == at:
            last_s = times[i - 1]
            wrong = last_s + min(bad, 0.0) if isinstance(bad, float) and math.isfinite(bad) else bad
            with pytest.raises(InvalidInput, match="timestamp_s"):
                buffer.add(wrong, -1)
        dues += buffer.add(time_s, i)
    assert [key(due) for due in dues + buffer.flush()] == [key(due) for due in run(times, look_ahead)]


@given(videos(), st.sampled_from(["full", "none", "both"]), st.integers(0, 89))
def test_a_frame_that_is_taken_back_leaves_no_trace(times, look_ahead, at):
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S, look_ahead)
    dues = []
    for i, time_s in enumerate(times):
        if i == at:
            restore = buffer.snapshot()
            buffer.add(time_s + 0.001, -1)
            buffer.add(time_s + 5.0, -1)
            restore()
        dues += buffer.add(time_s, i)
    assert [key(due) for due in dues + buffer.flush()] == [key(due) for due in run(times, look_ahead)]


def test_flush_starts_anew():
    buffer: TemporalBuffer[int] = TemporalBuffer(INTERVAL_S)
    first = [key(d) for i in range(40) for d in buffer.add(i / 30, i)] + [key(d) for d in buffer.flush()]
    assert buffer.flush() == [] and len(buffer) == 0 and buffer.period_s is None
    again = [key(d) for i in range(40) for d in buffer.add(i / 30, i)] + [key(d) for d in buffer.flush()]
    assert first == again


@pytest.mark.parametrize("interval_s", [0.0, -0.4, math.nan, math.inf])
def test_bad_choices_are_refused(interval_s):
    with pytest.raises(InvalidInput, match="interval_s"):
        TemporalBuffer(interval_s)
    with pytest.raises(InvalidInput, match="look_ahead"):
        TemporalBuffer(0.4, "future")  # type: ignore[arg-type]


@given(st.lists(st.floats(0.0005, 0.02), min_size=1, max_size=400), st.sampled_from(["full", "none", "both"]))
def test_with_a_rate_that_is_kept_nothing_grows_and_every_frame_is_due_once(
    steps: list[float], look_ahead: str
) -> None:
    """Times 2 ms apart kept 400 frames, more than the states of an engine have room for."""
    buffer: TemporalBuffer[int] = TemporalBuffer(0.4, look_ahead, most_fps=60)  # type: ignore[arg-type]
    free: TemporalBuffer[int] = TemporalBuffer(0.4, look_ahead)  # type: ignore[arg-type]
    most = 25
    dues, others, time_s = [], [], 0.0
    for i, step_s in enumerate(steps):
        time_s += step_s
        dues += buffer.add(time_s, i)
        others += free.add(time_s, i)
        assert buffer.waiting <= most and len(buffer) <= 2 * most + 1
    dues += buffer.flush()
    others += free.flush()
    final = [due.item for due in dues if not due.provisional]
    assert final == list(range(len(steps)))
    if not buffer.crowded:
        assert [(d.item, d.former, d.later, d.context) for d in dues] == [
            (d.item, d.former, d.later, d.context) for d in others
        ]


def test_frames_too_far_apart_for_any_neighbour_are_known() -> None:
    for step_s, sparse in ((0.04, False), (0.5, False), (1.0, True), (40.0, True)):
        buffer: TemporalBuffer[int] = TemporalBuffer(0.4)
        for i in range(5):
            buffer.add(i * step_s, i)
            assert not buffer.sparse
        buffer.add(5 * step_s, 5)
        assert buffer.sparse == sparse
