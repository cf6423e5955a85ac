"""Part masks: every part lies where its points are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.shards import AU26, face_points
from train.data.part_masks import part_masks
from train.models.parser import PARTS


def drawn(jaw: float = 0.0, side: int = 64) -> np.ndarray:
    intensity = np.zeros(15, np.float32)
    intensity[AU26] = jaw
    return part_masks(face_points(intensity)[None] * side * 4 - 0.5, side)[0]


def where(mask: np.ndarray, part: str) -> np.ndarray:
    """Mean x, y of a part, in shares of the crop."""
    rows, columns = np.nonzero(mask == PARTS.index(part))
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / len(mask)


def test_every_part_lies_where_its_points_are() -> None:
    points, mask = face_points(np.zeros(15, np.float32)), drawn()
    for part, chosen in {
        "right brow": slice(17, 22), "left brow": slice(22, 27), "right eye": slice(36, 42), "left eye": slice(42, 48),
    }.items():  # fmt: skip
        np.testing.assert_allclose(where(mask, part), points[chosen].mean(0), atol=0.02)
    assert where(mask, "upper lip")[1] < points[60:68].mean(0)[1] < where(mask, "lower lip")[1]
    assert mask[0].max() == 0 and mask[32, 32] != 0, "the corner is background, the middle is face"


def test_the_mouth_is_there_where_the_lips_part() -> None:
    shut, open_ = ((drawn(jaw) == PARTS.index("mouth")).sum() for jaw in (0.0, 1.0))
    assert shut < open_ and open_ > 30


@pytest.mark.parametrize("side", [16, 32])
def test_no_face_is_background(side: int) -> None:
    points = np.full((2, 68, 2), np.nan)
    points[1] = face_points(np.zeros(15, np.float32)) * side * 4
    masks = part_masks(points, side)
    assert masks.shape == (2, side, side) and masks.dtype == np.uint8
    assert not masks[0].any() and masks[1].any()
