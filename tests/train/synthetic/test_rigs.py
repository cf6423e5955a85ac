"""The expressions of two more artists on the ICT head, from the real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.data.transforms.sequences import FLIP_68
from train.synthetic import rigs
from train.synthetic.ict import AU_NUMBERS, TEETH, Head, load_head
from train.synthetic.makehuman import RIGS

CASES = [(rig, number) for rig in RIGS for number in AU_NUMBERS if number not in rigs.BROKEN[rig]]


@pytest.fixture(scope="module")
def source(corpus: Path) -> Path:
    if not rigs.available(corpus):
        pytest.skip("the rigs are absent: expected ../shared/data/rigs beside the checkout")
    return corpus


@pytest.fixture(scope="module")
def own(source: Path) -> Head:
    return load_head(source / "ict_facekit_light.npz")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rigs")


@pytest.fixture(scope="module")
def head(own: Head, source: Path, cache: Path) -> Head:
    return rigs.with_rigs(own, source, cache)


def field(head: Head, rig: str, number: int, side: str = "") -> np.ndarray:
    """(n, 3) cm: an AU of a rig at intensity 1."""
    names = {f"{rig}_{number}{end}" for end in ([side] if side else ["", "_L", "_R"])}
    return head.shapes[[i for i, name in enumerate(head.shape_names) if name in names]].sum(0)


def height(points: np.ndarray, upper: list[int], lower: list[int]) -> float:
    """Mean height of the upper points over the lower ones, cm."""
    return float((points[upper, 1] - points[lower, 1]).mean())


@pytest.mark.parametrize(("rig", "number"), CASES, ids=[f"{rig}-AU{number}" for rig, number in CASES])
def test_landmarks_move_as_the_au_says(head: Head, rig: str, number: int) -> None:
    rest = head.neutral[head.landmarks]
    moved = field(head, rig, number)[head.landmarks]
    after = rest + moved
    lips, lids = ([61, 62, 63], [67, 66, 65]), ([37, 38, 43, 44], [41, 40, 47, 46])
    wider = after[54, 0] - after[48, 0] - (rest[54, 0] - rest[48, 0])
    lip_height = height(after, [51], [57]) - height(rest, [51], [57])
    opened = height(after, *lids) - height(rest, *lids)
    holds = {
        1: moved[[21, 22], 1].min() > 0.2,
        2: moved[[18, 25], 1].min() > 0.2,
        4: moved[[20, 23], 1].max() < -0.15,
        5: opened > 0.1,
        6: moved[[40, 47], 1].min() > 0.01,
        7: opened < -0.05,
        9: moved[[31, 35], 1].min() > 0.05,
        10: moved[[50, 52], 1].min() > 0.15,
        12: wider > 0.5 and moved[[48, 54], 1].min() > 0.2,
        14: wider > 0.2,
        15: moved[[48, 54], 1].max() < -0.2,
        17: moved[57, 1] > 0.2,
        20: wider > 0.4,
        23: lip_height < -0.1,
        24: lip_height < -0.1,
        25: height(after, *lips) - height(rest, *lips) > 0.3,
        26: moved[8, 1] < -0.5 and height(after, *lips) > 0.7,
        45: opened < -0.6,
    }
    assert holds[number], (moved[[8, 21, 48, 54, 57]].round(2), wider, lip_height, opened)


@pytest.mark.parametrize("rig", RIGS)
def test_a_blink_shuts_the_eye_from_above(head: Head, rig: str) -> None:
    rest = head.neutral[head.landmarks]
    moved = field(head, rig, 45)[head.landmarks]
    gap = height(rest, [37, 38, 43, 44], [41, 40, 47, 46])
    assert height(rest + moved, [37, 38, 43, 44], [41, 40, 47, 46]) < 0.25 * gap
    assert abs(moved[[40, 41, 46, 47], 1]).max() < 0.2 * gap


@pytest.mark.parametrize("rig", RIGS)
def test_lids_glide_over_the_eyeball_half_way_as_well(head: Head, rig: str) -> None:
    ball = head.neutral[21451:23021]
    middle = (ball.min(0) + ball.max(0)) / 2
    radius = np.linalg.norm(ball - middle, axis=1).max()
    lids = head.landmarks[[43, 44]]
    at_rest = np.linalg.norm(head.neutral[lids] - middle, axis=1)
    for share in (0.5, 1.0):
        there = head.neutral[lids] + share * field(head, rig, 45)[lids]
        assert (np.linalg.norm(there - middle, axis=1) > np.minimum(0.97 * at_rest, radius + 0.1)).all()


@pytest.mark.parametrize("rig", RIGS)
def test_the_upper_lip_does_not_follow_the_jaw(head: Head, rig: str) -> None:
    moved = np.linalg.norm(field(head, rig, 26)[head.landmarks], axis=1)
    assert moved[[50, 51, 52, 61, 62, 63]].max() < 0.2 * moved[[57, 66]].min()


@pytest.mark.parametrize("rig", RIGS)
def test_left_and_right_mirror_each_other(head: Head, rig: str) -> None:
    for number in (1, 12, 45):
        left, right = (field(head, rig, number, side)[head.landmarks] for side in ("_L", "_R"))
        np.testing.assert_allclose(right[FLIP_68] * (-1, 1, 1), left, atol=0.06)
        mine = head.neutral[head.landmarks][:, 0] < -1
        assert np.abs(left[mine]).max() == 0 < np.abs(left[~mine]).max()


def test_teeth_and_eyes_move_as_on_the_own_head(head: Head, own: Head) -> None:
    inside = np.r_[np.flatnonzero(own.vertex_material == TEETH), np.arange(21451, 24591)]
    for number in (12, 26):
        ict = np.tensordot(own.au_matrix()[AU_NUMBERS.index(number)], own.shapes, 1)
        np.testing.assert_allclose(field(head, "facshuman", number)[inside], ict[inside], atol=2e-3)


def test_the_back_of_the_head_stays_where_it_is(head: Head) -> None:
    skin = np.arange(11248)
    behind = skin[head.neutral[:11248, 2] < -2]
    assert max(np.abs(field(head, rig, number)[behind]).max() for rig, number in CASES) < 0.05


def test_a_field_is_as_strong_as_icts_own_within_bounds() -> None:
    field = np.zeros((20000, 3))
    field[:200, 1] = 0.5
    assert rigs.strength(field, 1.4 * field) == pytest.approx(1.4)
    assert rigs.strength(field, 10 * field) == 2
    assert rigs.strength(field, 0.01 * field) == 0.5


def test_the_same_files_give_the_same_shapes_with_and_without_a_cache(
    head: Head, own: Head, source: Path, cache: Path
) -> None:
    assert len(list(cache.glob("rigs-*.npz"))) == 1
    again = rigs.with_rigs(own, source)
    assert again.shape_names == head.shape_names
    np.testing.assert_array_equal(again.shapes, head.shapes)
    np.testing.assert_array_equal(rigs.with_rigs(own, source, cache).shapes, head.shapes)


def test_without_rigs_expressions_are_icts_own_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not rigs.wanted(tmp_path, True)
    assert "ICT's own alone" in caplog.text
    caplog.clear()
    assert not rigs.wanted(tmp_path, False)
    assert not caplog.text
