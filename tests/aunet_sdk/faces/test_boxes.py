"""Boxes against boxes: the kernel (csrc/boxes.pyx) against its NumPy references, and known answers for both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aunet_sdk.faces import boxes
from aunet_sdk.faces.boxes import (
    gaps,
    gaps_reference,
    match,
    match_reference,
    overlaps,
    overlaps_reference,
)

from .. import native

needs_kernel = pytest.mark.skipif(not native.built("boxes"), reason="the compiled kernels are not built")

ODD = [0.0, -0.0, -3.0, 1e-300, 1e300, np.nan, np.inf, -np.inf]
numbers = st.floats(-100, 100) | st.integers(-3, 3).map(float) | st.sampled_from(ODD)
sets = hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.just(4)), elements=numbers)


def crowd(count: int, seed: int = 0) -> np.ndarray:
    """Boxes (count, 4) of 20 to 120 px, many of them over each other."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(0, 400, (count, 2)), rng.uniform(20, 120, (count, 2))])


@needs_kernel
@given(sets, sets)
def test_the_kernel_is_the_reference(a: np.ndarray, b: np.ndarray) -> None:
    """To the last bit, but for the root of the distance, which NumPy may take from another library."""
    np.testing.assert_array_equal(overlaps(a, b), overlaps_reference(a, b))
    np.testing.assert_allclose(gaps(a, b), gaps_reference(a, b), rtol=1e-15)


@needs_kernel
@given(
    st.tuples(st.integers(0, 6), st.integers(0, 6)).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.5, 1.0])),
            hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.45, 2.0, np.inf])),
        )
    )
)
def test_the_kernel_matches_like_the_reference(tables: tuple[np.ndarray, np.ndarray]) -> None:
    """With ties of every kind."""
    np.testing.assert_array_equal(match(*tables, 0.3, 0.45), match_reference(*tables, 0.3, 0.45))


@needs_kernel
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 999))
def test_the_kernel_matches_like_the_reference_in_a_crowd(rows: int, columns: int, seed: int) -> None:
    a, b = crowd(rows, seed), crowd(columns, seed + 1)
    overlap, gap = overlaps(a, b), gaps(a, b)
    np.testing.assert_array_equal(match(overlap, gap, 0.3, 0.45), match_reference(overlap, gap, 0.3, 0.45))


@pytest.fixture(params=["in use", "reference"])
def _either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in use here, and the reference in its place."""
    if request.param == "reference":
        monkeypatch.setattr(boxes, "_kernel", None)


@pytest.mark.usefixtures("_either")
def test_known_boxes() -> None:
    a = np.array([(0, 0, 10, 10), (100, 0, 4, 8)])
    b = np.array([(5, 0, 10, 10), (10, 0, 10, 10), (0, 0, 10, 10), (2, 2, 5, 5)])
    np.testing.assert_allclose(overlaps(a, b)[0], [1 / 3, 0, 1, 0.25])
    assert not overlaps(a, b)[1].any()
    np.testing.assert_allclose(gaps(a, b)[0], [0.5, 1, 0, np.hypot(0.5, 0.5) / 5])
    assert gaps(a, b)[1, 2] == pytest.approx(np.hypot(97, 1) / 6)


@pytest.mark.usefixtures("_either")
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", range(4))
def test_a_box_with_a_number_that_is_none_is_far_from_everything(odd: float, where: int) -> None:
    good, bad = np.array([(0.0, 0, 10, 10)]), np.array([(0.0, 0, 10, 10)])
    bad[0, where] = odd
    for pair in ((good, bad), (bad, good), (bad, bad)):
        assert overlaps(*pair) == 0 and gaps(*pair) == np.inf
    assert match(overlaps(good, bad), gaps(good, bad), 0.3, 0.45) == -1


@pytest.mark.usefixtures("_either")
@pytest.mark.parametrize("size", [(0, 0), (0, 10), (10, 0), (-5, 10), (-5, -5), (1e-200, 1e-200)])
def test_a_box_without_area_overlaps_nothing(size: tuple[float, float]) -> None:
    thin, good = np.array([(2.0, 2, *size)]), np.array([(0.0, 0, 10, 10)])
    for pair in ((thin, good), (good, thin), (thin, thin)):
        assert overlaps(*pair) == 0 and gaps(*pair) >= 0


@pytest.mark.usefixtures("_either")
def test_no_boxes_at_all() -> None:
    some = crowd(3)
    for a, b, shape in (([], some, (0, 3)), (some, np.empty((0, 4)), (3, 0)), ([], [], (0, 0))):
        assert overlaps(a, b).shape == gaps(a, b).shape == shape
        assert match(overlaps(a, b), gaps(a, b), 0.3, 0.45).tolist() == [-1] * shape[0]


@pytest.mark.usefixtures("_either")
def test_any_strides_and_kinds_of_numbers() -> None:
    a, b = crowd(8), crowd(5, 1)
    for function in (overlaps, gaps):
        expected = function(a, b)
        wide = np.zeros((16, 8))
        wide[::2, ::2] = a
        np.testing.assert_array_equal(function(wide[::2, ::2], np.asfortranarray(b)), expected)
        np.testing.assert_array_equal(function(a[::-1], b[::-1]), expected[::-1, ::-1])
        np.testing.assert_array_equal(function(list(a), [tuple(box) for box in b]), expected)
        small = a.astype(np.float32)
        small.flags.writeable = False
        np.testing.assert_array_equal(function(small, b), function(small.astype(np.float64), b))


@pytest.mark.usefixtures("_either")
def test_the_best_pair_goes_first() -> None:
    overlap = np.array([(0.6, 0.9), (0.5, 0.8)])
    assert match(overlap, np.ones((2, 2)), 0.3, 0.45).tolist() == [1, 0]
    assert match(overlap, np.ones((2, 2)), 0.55, 0.45).tolist() == [1, -1]
    level = np.full((2, 2), 0.5)
    assert match(level, np.array([(0.2, 0.1), (0.0, 0.0)]), 0.3, 0.45).tolist() == [1, 0]
    assert match(level, level, 0.3, 0.45).tolist() == [0, 1], "of equals the first"
    assert match(np.zeros((2, 1)), np.array([[0.46], [0.45]]), 0.3, 0.45).tolist() == [-1, 0], "by the gap alone"


def _all(a: np.ndarray, b: np.ndarray) -> list[list]:
    overlap, gap = overlaps(a, b), gaps(a, b)
    return [overlap.tolist(), gap.tolist(), match(overlap, gap, 0.3, 0.45).tolist()]


def test_several_threads_at_once_get_the_same() -> None:
    """The kernel holds no lock and no state: eight threads, each with boxes of its own, get what one gets."""
    pairs = [(crowd(3 + i, i), crowd(35 - i, 100 + i)) for i in range(32)]
    alone = [_all(*pair) for pair in pairs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda pair: _all(*pair), pairs * 10)) == alone * 10


@needs_kernel
def test_the_kernel_is_the_one_in_use() -> None:
    assert boxes.NATIVE and boxes._kernel is native.kernel("boxes")


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 999))
@pytest.mark.parametrize("function, other", [(overlaps, overlaps_reference), (gaps, gaps_reference)])
def test_the_other_way_round_is_the_same(
    function: Callable, other: Callable, rows: int, columns: int, seed: int
) -> None:
    a, b = crowd(rows, seed), crowd(columns, seed + 1)
    for table in (function, other):
        np.testing.assert_allclose(table(a, b), table(b, a).T, rtol=1e-12)
