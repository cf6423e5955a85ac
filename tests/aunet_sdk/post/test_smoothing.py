"""The One-Euro filter: what holds for every signal, and its lag and noise on one that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.post.smoothing import OneEuro

steps = st.floats(1e-4, 0.4)
probabilities = st.floats(0, 1)


def run(euro: OneEuro, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.array([euro.update(1, [value], float(t))[0] for t, value in zip(times, values, strict=True)])


@given(st.lists(steps, min_size=1, max_size=50), probabilities)
def test_a_constant_stays_what_it_is(gaps_s: list[float], value: float) -> None:
    times = np.cumsum(gaps_s)
    assert run(OneEuro(), times, np.full(len(times), value)) == pytest.approx(value, abs=1e-12)


@given(
    st.lists(st.tuples(steps, probabilities), min_size=1, max_size=50),
    st.floats(0.01, 30),
    st.floats(0, 50),
)
def test_the_result_is_bounded_by_what_came_in(
    samples: list[tuple[float, float]], min_cutoff_hz: float, beta: float
) -> None:
    times, values = np.cumsum([s for s, _ in samples]), np.array([v for _, v in samples])
    smooth = run(OneEuro(min_cutoff_hz, beta), times, values)
    assert (smooth >= np.minimum.accumulate(values) - 1e-12).all()
    assert (smooth <= np.maximum.accumulate(values) + 1e-12).all()


def signal(fps: float = 30.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, a movement that rises and falls within 0.3 s each, and the same with noise of sd 0.03."""
    times = np.arange(0, 12, 1 / fps)
    clean = 0.05 + 0.9 * np.clip((times - 4) / 0.3, 0, 1) - 0.9 * np.clip((times - 8) / 0.3, 0, 1)
    noisy = clean + np.random.default_rng(0).normal(0, 0.03, len(times))
    return times, clean, noisy


def test_the_noise_of_a_calm_face_is_more_than_halved_and_a_movement_lags_by_two_frames_at_most() -> None:
    times, _, noisy = signal()
    smooth = run(OneEuro(), times, noisy)
    calm = (times > 1) & (times < 3.8)
    assert smooth[calm].std() < 0.5 * noisy[calm].std()
    rises = [times[np.argmax(s >= 0.5)] for s in (noisy, smooth)]
    falls = [times[times > 6][np.argmax(s[times > 6] < 0.5)] for s in (noisy, smooth)]
    assert 0 <= rises[1] - rises[0] <= 2.5 / 30
    assert 0 <= falls[1] - falls[0] <= 2.5 / 30


def test_irregular_times_give_nearly_what_regular_ones_do() -> None:
    times, clean, _ = signal(100)
    regular = run(OneEuro(), times, clean)
    chosen = np.sort(np.random.default_rng(1).choice(len(times), len(times) // 3, replace=False))
    irregular = run(OneEuro(), times[chosen], clean[chosen])
    assert np.abs(irregular - regular[chosen]).mean() < 0.01
    assert np.abs(irregular - regular[chosen]).max() < 0.15


def test_after_a_gap_it_begins_anew() -> None:
    euro = OneEuro(max_gap_s=0.5)
    run(euro, np.arange(0, 2, 0.04), np.zeros(50))
    assert euro.update(1, [0.9], 2.6)[0] == 0.9
    assert euro.update(1, [0.0], 3.0)[0] > 0.05


def test_a_number_that_is_unknown_leaves_the_others_alone() -> None:
    euro, alone = OneEuro(), OneEuro()
    for i in range(30):
        value = [math.nan if 10 <= i < 15 else 0.5, i % 2]
        smooth = euro.update(1, value, i * 0.04)
        assert np.isnan(smooth[0]) == (10 <= i < 15)
        assert smooth[1] == alone.update(1, [i % 2], i * 0.04)[0]
        assert np.isnan(smooth[0]) or smooth[0] == 0.5


def test_people_are_kept_apart_and_forgotten() -> None:
    euro = OneEuro(max_gap_s=0.5)
    for i in range(200):
        assert euro.update(i // 2, [i % 3], i * 0.1).shape == (1,)
        assert len(euro) <= 4
    euro.clear()
    assert len(euro) == 0
    assert euro.update(7, [0.3], 0.0)[0] == 0.3


def test_what_it_does_not_take() -> None:
    euro = OneEuro()
    euro.update(1, [0.5, 0.5], 1.0)
    for values, time_s in (([0.5, 0.5], 1.0), ([0.5], 2.0), ([[0.5]], 2.0), ([math.inf, 0], 2.0), ([0, 0], math.nan)):
        with pytest.raises(InvalidInput):
            euro.update(1, values, time_s)
    assert euro.update(1, [0.5, 0.5], 1.1).tolist() == [0.5, 0.5]
    for wrong in ({"min_cutoff_hz": 0}, {"beta": -1}, {"max_gap_s": math.inf}, {"speed_cutoff_hz": "1"}):
        with pytest.raises(InvalidInput, match="expected a finite number"):
            OneEuro(**wrong)  # type: ignore[arg-type]


def test_what_comes_back_is_a_copy() -> None:
    euro = OneEuro()
    euro.update(1, [0.5], 0.0)[0] = 9.0
    assert euro.update(1, [0.5], 0.1)[0] == 0.5
