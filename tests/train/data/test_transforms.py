"""Augmentation: pixels and points move together."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.shards import face_points
from train.data.transforms.sequences import (
    FLIP_68,
    NO_AUGMENTATION,
    Augmenter,
    AugmentOptions,
    centre_crops,
    crop_matrix,
)

GEOMETRY_ONLY = AugmentOptions(photometric=0.0, occlusion=0.0, large_occlusion=0.0)
RIGID = AugmentOptions(photometric=0.0, occlusion=0.0, large_occlusion=0.0, warp=0.0)


def marked(points: np.ndarray) -> np.ndarray:
    """Stored frames (F, 160, 160, 3) with a Gaussian spot at the one point that matters of each frame."""
    grid = np.arange(160)
    pixels = points * 160 - 0.5
    spot = np.exp(-((grid[None, :, None] - pixels[:, 1, None, None]) ** 2 + (grid - pixels[:, 0, None, None]) ** 2) / 2)
    return np.repeat((255 * spot)[..., None], 3, 3).astype(np.uint8)


def centroid(image: np.ndarray, power: int = 1) -> np.ndarray:
    """(x, y) px, weighted with brightness to a power: the higher, the nearer to the peak, and the fewer pixels."""
    weight = image[..., 0].astype(float) ** power
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    x=st.floats(0.4, 0.6),
    y=st.floats(0.4, 0.6),
    resolution=st.sampled_from([64, 128]),
    rigid=st.booleans(),
)
def test_points_stay_on_their_pixels(seed: int, x: float, y: float, resolution: int, rigid: bool) -> None:
    """A bend shears the spot itself, so that its centroid leaves its peak by up to .8 px in one case of 1,000;
    near the peak it does not, but few pixels count there. So one of three centroids has to be where the point is."""
    where = np.tile(np.array([x, y]), (4, 1))
    points = np.tile(where[:, None], (1, 68, 1)).astype(np.float32)
    out = np.empty((4, resolution, resolution, 3), np.uint8)
    augment = Augmenter(resolution, 160, 1.25, RIGID if rigid else GEOMETRY_ONLY)
    moved = augment(np.random.default_rng(seed), marked(where), points, out).points
    assert moved.dtype == np.float32
    for frame in range(4):
        off = [np.abs(centroid(out[frame], power) - moved[frame, 0]).max() for power in ((1,) if rigid else (1, 2, 4))]
        assert min(off) <= (0.15 if rigid else 0.25), off


def test_one_draw_per_sequence_and_a_little_per_frame() -> None:
    points = np.tile(face_points(np.zeros(15, np.float32)), (4, 1, 1)).astype(np.float32)
    images = np.zeros((4, 160, 160, 3), np.uint8)
    out = np.empty((4, 128, 128, 3), np.uint8)
    augment = Augmenter(128, 160, 1.25)
    spread = []
    for seed in range(20):
        moved = augment(np.random.default_rng(seed), images, points, out).points
        assert 0.01 < np.abs(moved - moved.mean(0)).max() < 8
        spread.append(moved.mean(0))
    assert np.std(spread, axis=0).max() > 5


def test_flip_is_an_involution_that_mirrors_the_face() -> None:
    assert sorted(FLIP_68) == list(range(68))
    assert np.array_equal(FLIP_68[FLIP_68], np.arange(68))
    face = face_points(np.zeros(15, np.float32))
    mirrored = face[FLIP_68] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, face, atol=1e-9)  # the cartoon face is symmetric


def test_no_augmentation_is_the_centre_crop() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 160, 160, 3)).astype(np.uint8)
    points = rng.random((4, 68, 2)).astype(np.float32)
    out = np.empty((4, 128, 128, 3), np.uint8)
    moved = Augmenter(128, 160, 1.25, NO_AUGMENTATION)(rng, images, points, out).points
    crops, expected = centre_crops(images, points, 128, 1.25)
    assert np.array_equal(crops, images[:, 16:144, 16:144])
    np.testing.assert_allclose(expected, points * 160 - 16.5, atol=1e-3)
    assert np.array_equal(out, crops)
    np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_a_seed_gives_one_result_and_nan_stays_nan() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 160, 160, 3)).astype(np.uint8)
    points = np.full((4, 68, 2), np.nan, np.float32)
    augment = Augmenter(128, 160, 1.25, AugmentOptions(occlusion=0.6, large_occlusion=0.3))
    for seed in range(15):
        first, second = np.empty((2, 4, 128, 128, 3), np.uint8)
        assert np.isnan(augment(np.random.default_rng(seed), images, points, first).points).all()
        augment(np.random.default_rng(seed), images, points, second)
        assert np.array_equal(first, second)


def test_points_behind_a_box_are_told() -> None:
    images = np.full((2, 160, 160, 3), 128, np.uint8)
    points = np.random.default_rng(3).uniform(0.2, 0.8, (2, 68, 2)).astype(np.float32)
    plain = dataclasses.replace(NO_AUGMENTATION, large_occlusion=1.0)
    for seed in range(8):
        out = np.empty((2, 128, 128, 3), np.uint8)
        moved, hidden = Augmenter(128, 160, 1.25, plain)(np.random.default_rng(seed), images, points, out)
        cells = moved.round().astype(int).clip(0, 127)
        painted = (out[np.arange(2)[:, None], cells[..., 1], cells[..., 0]] != 128).any(-1)
        assert hidden.any() and not hidden.all() and (painted == hidden).mean() > 0.95


@pytest.mark.parametrize("flip", [False, True])
def test_crop_matrix_agrees_with_its_words(flip: bool) -> None:
    matrix = crop_matrix(128, 160, 1.25, rotation_deg=90, scale=2.0, shift=(0.1, 0.0), flip=flip)
    centre = cv2.transform(np.array([[[79.5, 79.5]]]), matrix)[0, 0]
    np.testing.assert_allclose(centre, [63.5 + 12.8, 63.5])
    right = cv2.transform(np.array([[[80.5, 79.5]]]), matrix)[0, 0] - centre
    np.testing.assert_allclose(right, [0, -2 if flip else 2], atol=1e-9)  # clockwise: right turns down
