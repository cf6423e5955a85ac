"""Decoding of heatmaps: known points, borders, odd values, and the kernel against its reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aunet_sdk.errors import InvalidInput
from aunet_sdk.geometry.heatmap import decode, decode_reference

from .. import native

needs_kernel = pytest.mark.skipif(not native.built("heatmap"), reason="the compiled kernels are not built")

finite = st.floats(-2, 2, width=32)


@needs_kernel
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        elements=finite | st.sampled_from([np.nan, np.inf, -np.inf, 3e38]),
    )
)
@example(np.array([[[[np.nan, -np.inf]]]], np.float32))
def test_kernel_is_the_reference(heatmaps):
    points, confidence = decode(heatmaps)
    expected, expected_confidence = decode_reference(heatmaps)
    np.testing.assert_allclose(points, expected, atol=1e-4)
    np.testing.assert_array_equal(confidence, expected_confidence)
    assert np.isfinite(points).all()


@needs_kernel
def test_kernel_is_the_reference_at_the_networks_sizes():
    rng = np.random.default_rng(0)
    for side in (16, 32, 64):
        heatmaps = rng.normal(0, 0.3, (2, 68, side, side)).astype(np.float32)
        for got, expected in zip(decode(heatmaps), decode_reference(heatmaps), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4)
        np.testing.assert_array_equal(decode(heatmaps[:, :, ::2])[0], decode(heatmaps[:, :, ::2].copy())[0])


@given(x=st.floats(12, 115), y=st.floats(12, 115))
def test_a_gaussian_is_found_to_a_fraction_of_a_cell(x, y):
    """Sigma of one cell, as FAN is trained: the centroid of the 5 x 5 window is within 0.15 cells."""
    centres = 4 * np.arange(32) + 1.5
    bump = np.exp(-((centres - x)[None, :] ** 2 + (centres - y)[:, None] ** 2) / (2 * 4.0**2))
    points, confidence = decode(bump[None, None].astype(np.float32))
    assert np.abs(points[0, 0] - (x, y)).max() < 0.6
    assert confidence[0, 0] == pytest.approx(bump.max(), abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 7), (11, 0), (11, 7), (5, 3)])
def test_a_single_cell_gives_its_centre(row, column):
    heatmaps = np.full((1, 1, 12, 8), -0.2, np.float32)
    heatmaps[0, 0, row, column] = 0.4
    points, confidence = decode(heatmaps)
    np.testing.assert_array_equal(points[0, 0], [4 * column + 1.5, 4 * row + 1.5])
    assert confidence[0, 0] == np.float32(0.4)


def test_the_centroid_takes_positive_neighbours_alone():
    heatmaps = np.zeros((1, 1, 16, 16), np.float32)
    heatmaps[0, 0, 8, 8], heatmaps[0, 0, 8, 10], heatmaps[0, 0, 6, 8] = 2.0, 1.0, 1.0
    heatmaps[0, 0, 9, 7] = -5.0
    heatmaps[0, 0, 8, 11] = 1.9  # outside the window
    points, confidence = decode(heatmaps)
    np.testing.assert_allclose(points[0, 0], [4 * 8.5 + 1.5, 4 * 7.5 + 1.5])
    assert confidence[0, 0] == 1.0


def test_out_is_filled_and_checked():
    heatmaps = np.random.default_rng(1).normal(size=(3, 68, 32, 32)).astype(np.float32)
    out = np.empty((3, 68, 2), np.float32), np.empty((3, 68), np.float32)
    assert decode(heatmaps, out)[0] is out[0]
    np.testing.assert_array_equal(out[0], decode(heatmaps)[0])
    assert decode(heatmaps[:0])[0].shape == (0, 68, 2)
    for function in (decode, decode_reference):
        with pytest.raises(InvalidInput, match="out"):
            function(heatmaps[:2], out)
        with pytest.raises(InvalidInput, match="float32"):
            function(heatmaps.astype(np.float16))
        with pytest.raises(InvalidInput, match="float32"):
            function(heatmaps[0])
        with pytest.raises(InvalidInput, match="cell"):
            function(heatmaps[..., :0])


def test_several_threads_decode_at_once() -> None:
    """The kernel holds no lock and no state: eight threads, each with heatmaps of its own, get what one gets."""
    batches = [np.random.default_rng(i).normal(0, 0.3, (4, 68, 32, 32)).astype(np.float32) for i in range(8)]
    alone = [decode(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, expected in zip(pool.map(decode, batches), alone, strict=True):
                assert np.array_equal(got[0], expected[0]) and np.array_equal(got[1], expected[1])


@given(st.integers(0, 1023), st.integers(0, 1023))
def test_of_two_equal_maxima_the_first_counts(a: int, b: int) -> None:
    """Also where they lie in different chunks of the search."""
    heatmaps = np.zeros((1, 1, 32, 32), np.float32)
    heatmaps.reshape(-1)[[a, b]] = 0.5
    got, expected = decode(heatmaps), decode_reference(heatmaps)
    np.testing.assert_allclose(got[0], expected[0], atol=1e-5)
    assert got[1] == expected[1]
