"""Lids of a photograph that come down."""

from __future__ import annotations

import numpy as np
import pytest

from train.synthetic.lids import course, intensity_of, shut

SIDE = 96


def face() -> tuple[np.ndarray, np.ndarray]:
    """A plain face with white eyes and dark irises, and its points."""
    points = np.full((68, 2), 70.0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE, 3), (150, 110, 90), np.uint8)
    for first, x in ((36, 20.0), (42, 56.0)):
        points[first : first + 6] = [(x, 40), (x + 6, 36), (x + 14, 36), (x + 20, 40), (x + 14, 43), (x + 6, 43)]
        inside = ((columns - x - 10) / 10) ** 2 + ((rows - 39.6) / 3.6) ** 2 < 1
        image[inside] = 240
        image[inside & (np.abs(columns - x - 10) < 3)] = 30
    return image, points


def white(image: np.ndarray) -> int:
    return int((image.min(2) > 200).sum())


def test_the_white_goes_as_the_lids_come_down_and_the_rest_stays() -> None:
    image, points = face()
    pictures = [shut(image, points, closed, np.random.default_rng(0)) for closed in (0.3, 0.6, 1.0)]
    left = [white(one) for one in pictures]
    assert white(image) > left[0] > left[1] > left[2] and left[2] < 0.1 * white(image)
    for one in pictures:
        assert one.dtype == np.uint8 and np.array_equal(one[60:], image[60:]) and np.array_equal(one[:20], image[:20])
    lashes = pictures[-1][40:44, 24:36].mean()
    assert lashes < image[60, 60].mean() - 20  # a dark line, where the lower lid is


def test_eyes_that_are_too_small_are_left_alone() -> None:
    image, points = face()
    points[36:48] = points[36]
    assert np.array_equal(shut(image, points, 1.0, np.random.default_rng(0)), image)


def test_courses_are_shut_drowsy_or_blinks() -> None:
    courses = [course(4, np.random.default_rng(seed)) for seed in range(60)]
    assert all(one.shape == (4,) and (one >= 0).all() and (one <= 1).all() for one in courses)
    assert any(one.min() > 0.8 for one in courses) and any(one.min() == 0 and one.max() > 0.5 for one in courses)
    assert intensity_of(np.array([0.0, 0.35, 0.65, 1.0])) == pytest.approx([0, 0, 0.5, 1])
