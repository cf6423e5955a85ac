from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.faces.plausibility import box_of, distance, drift_of, iou, plausible, size_of
from aunet_sdk.geometry.crop import box_to_matrix, similarity, transform

TEMPLATE = np.array([(0.3583, 0.4066), (0.6417, 0.4066), (0.5, 0.5471), (0.3895, 0.709), (0.6105, 0.709)])
boxes = st.tuples(*[st.floats(-100, 100)] * 2, *[st.floats(1, 200)] * 2).map(np.array)


def face() -> np.ndarray:
    """68 points with the proportions of a face, about 100 px wide, its five points on the template."""
    points = np.zeros((68, 2))
    points[0:17] = np.stack([np.linspace(0, 100, 17), 100 - 0.02 * (np.linspace(0, 100, 17) - 50) ** 2], axis=1)
    points[17:27] = np.stack([np.linspace(10, 90, 10), np.full(10, 40)], axis=1)
    points[27:36] = (50, 67)
    points[36:42], points[42:48] = (30, 50), (70, 50)
    points[48:60], points[60:68] = (50, 90), (50, 90)
    points[48], points[54] = (34, 92), (66, 92)
    return points


@given(boxes, boxes)
def test_overlap_is_symmetric_and_in_range(a: np.ndarray, b: np.ndarray) -> None:
    assert iou(a, b) == pytest.approx(iou(b, a)) and 0 <= iou(a, b) <= 1
    assert iou(a, a) == pytest.approx(1)
    assert distance(a, b) == pytest.approx(distance(b, a)) and distance(a, a) < 1e-12


def test_overlap_of_known_boxes() -> None:
    a = np.array([0.0, 0, 10, 10])
    assert iou(a, np.array([5.0, 0, 10, 10])) == pytest.approx(1 / 3)
    assert iou(a, np.array([10.0, 0, 10, 10])) == 0
    assert distance(a, np.array([10.0, 0, 10, 10])) == 1
    assert size_of(np.array([0.0, 0, 10, 30])) == 20


def test_the_box_of_landmarks_holds_them_and_the_forehead() -> None:
    points = face()
    x, y, width, height = box_of(points)
    assert (x, width) == (0, 100)
    assert y + height == points[:, 1].max()
    assert y == pytest.approx(40 - 0.373 * (100 - 40))


@given(
    st.floats(0.6, 1.6),
    st.floats(-40, 40),
    st.floats(-0.3, 0.3),
    st.floats(-0.3, 0.3),
)
def test_drift_is_the_similarity_away_from_the_template(scale: float, turn: float, x: float, y: float) -> None:
    angle = np.radians(turn)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = TEMPLATE.mean(axis=0)
    drift = drift_of((TEMPLATE - centre) @ matrix.T + centre + (x, y), TEMPLATE)
    assert drift.scale == pytest.approx(scale) and drift.rotation_deg == pytest.approx(turn, abs=1e-9)
    assert drift.shift == pytest.approx(np.hypot(x, y), abs=1e-12) and drift.misfit == pytest.approx(0, abs=1e-12)
    off = np.hypot(x, y) > 0.08 or not 1 / 1.15 <= scale <= 1.15 or abs(turn) > 12
    assert drift.too_far == off


def test_drift_agrees_with_the_alignment() -> None:
    five = np.random.default_rng(0).normal(0.5, 0.2, (5, 2))
    matrix = similarity(TEMPLATE, five)
    drift = drift_of(five, TEMPLATE)
    left = five - transform(matrix, TEMPLATE)
    assert drift.misfit == pytest.approx(np.sqrt((left**2).sum() / 5))
    assert drift.scale == pytest.approx(np.hypot(matrix[0, 0], matrix[1, 0]))
    assert drift.rotation_deg == pytest.approx(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def test_a_face_is_plausible_and_wrecks_of_it_are_not() -> None:
    good = drift_of(TEMPLATE, TEMPLATE)
    points = face()

    def check(points: np.ndarray, drift=good) -> bool:
        return plausible(points, drift, 200, 200)

    assert check(points)
    assert check(points * 0.2)
    collapsed = points.copy()
    collapsed[36:48] = (50, 50)
    assert not check(collapsed)
    assert not check(points * (1, 0.1))
    assert not check(points * 0.02)
    assert not check(points + np.array((160, 0)))
    assert not check(points - np.array((60, 0)))
    assert not check(np.where(np.arange(136).reshape(68, 2) == 7, np.nan, points))
    assert not check(points, drift_of(TEMPLATE[::-1], TEMPLATE))  # upside down
    assert not check(points, drift_of(TEMPLATE[[2, 0, 1, 4, 3]], TEMPLATE))
    assert not check(points, drift_of(TEMPLATE * 0.2 + 0.4, TEMPLATE))


def test_a_finders_box_and_the_landmarks_in_it_give_nearly_the_same_crop() -> None:
    """With the default bundle's crop_scale the two ways into a crop agree, on the bundle's own mean face."""
    from aunet_sdk.bundle import Bundle

    bundle = Bundle.load()
    points = np.asarray(bundle.points3d)[:, :2] * (1, -1)
    points = 50 * points / np.ptp(points[:, 0])
    matrix = box_to_matrix(box_of(points), bundle.crop_scale, bundle.resolution)
    crop = (transform(matrix, points) + 0.5) / bundle.resolution
    five = np.stack([crop[36:42].mean(0), crop[42:48].mean(0), crop[30], crop[48], crop[54]])
    drift = drift_of(five, np.asarray(bundle.template))
    assert not drift.too_far and drift.misfit < 0.03
