"""The kernel of the small geometry (csrc/geometry.pyx) against its NumPy references."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput, _native
from aunet_sdk.bundle import Bundle
from aunet_sdk.geometry import matrices as alignment
from aunet_sdk.geometry import pose
from aunet_sdk.pipeline import crop_inference as network

from .. import native

kernel = native.kernel("geometry")
BUNDLE = Bundle.load()
POINTS3D = np.asarray(BUNDLE.points3d)


def face(rng: np.random.Generator, noise_px: float = 1.0) -> np.ndarray:
    """(68, 2) px: the mean face turned, scaled and shifted at random, with noise."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)) * 0.35 + np.eye(3))
    turn = turn * np.sign(np.diag(turn))
    size = np.ptp(POINTS3D, axis=0).max()
    flat = (POINTS3D @ turn.T)[:, :2] * (1, -1) * rng.uniform(30, 300) / size
    return flat + rng.uniform(0, 500, 2) + rng.normal(0, noise_px, (68, 2))


@given(st.integers(0, 10_000))
def test_it_says_what_numpy_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = face(rng)
    target = np.asarray(BUNDLE.template) * 128 - 0.5
    np.testing.assert_allclose(alignment.five_points(points), alignment.five_points_reference(points), rtol=1e-12)
    five = alignment.five_points(points)
    matrix = alignment.similarity_reference(five, target)
    np.testing.assert_allclose(alignment.similarity(five, target), matrix, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(alignment.canonical_matrix(points, target), matrix, rtol=1e-9, atol=1e-9)
    ours, reference = pose.head_pose(points, POINTS3D), pose.head_pose_reference(points, POINTS3D)
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert getattr(ours, name) == pytest.approx(getattr(reference, name), abs=0.02)  # both stop below 1e-4 rad

    crop = alignment.transform(matrix, points).astype(np.float32)
    confidences = rng.random(68).astype(np.float32)
    got = network._place(crop, confidences, matrix, 128, np.asarray(BUNDLE.template))
    want = network._place_reference(crop, confidences, matrix, 128, np.asarray(BUNDLE.template))
    np.testing.assert_allclose(got[0], want[0], atol=1e-6)
    np.testing.assert_allclose(got[0], points, atol=1e-3)
    assert got[1] == pytest.approx(want[1], abs=1e-6)
    for name in ("shift", "scale", "rotation_deg", "misfit"):
        assert getattr(got[2], name) == pytest.approx(getattr(want[2], name), abs=1e-5)


def test_odd_input_is_left_to_the_reference() -> None:
    rng = np.random.default_rng(0)
    points, target = face(rng), np.asarray(BUNDLE.template) * 128
    holed = points.copy()
    holed[40, 1] = np.nan
    flat = POINTS3D * (1, 1, 0)
    out = np.empty((2, 3))
    assert not kernel.five_points(holed, np.empty((5, 2)))
    assert not kernel.canonical(holed, target, out)
    assert not kernel.similarity(np.ones((5, 2)), target, out)
    pairs = ((holed, POINTS3D), (points, flat), (np.ones((68, 2)), POINTS3D), (points, POINTS3D * np.nan))
    for landmarks, shape in pairs:
        assert kernel.head_pose(landmarks, shape, pose._WEIGHTS) is None
        with pytest.raises(InvalidInput):
            pose.head_pose(landmarks, shape)
    with pytest.raises(InvalidInput):
        alignment.five_points(holed)
    with pytest.raises(InvalidInput):
        alignment.canonical_matrix(np.ones((68, 2)), target)
    with pytest.raises(InvalidInput):
        network._place(np.ones((68, 2), np.float32), np.ones(68, np.float32), np.zeros((2, 3)), 128, target / 128)


def test_without_the_kernel_everything_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    points = face(np.random.default_rng(1))
    before = pose.head_pose(points, POINTS3D), alignment.points_to_matrix(points, BUNDLE.template, 128)
    monkeypatch.setattr(pose, "_kernel", None)
    monkeypatch.setattr(alignment, "_geometry", None)
    after = pose.head_pose(points, POINTS3D), alignment.points_to_matrix(points, BUNDLE.template, 128)
    assert after[0].yaw_deg == pytest.approx(before[0].yaw_deg, abs=0.02)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-9)


def all_of(points: np.ndarray) -> list:
    """What every function of the kernel makes of one face, to the last bit."""
    target, template = np.asarray(BUNDLE.template) * 128 - 0.5, np.asarray(BUNDLE.template)
    five, turned, matrix, landmarks = np.empty((5, 2)), np.empty((2, 3)), np.empty((2, 3)), np.empty((68, 2))
    assert kernel.five_points(points, five)
    assert kernel.similarity(five, target, turned)
    assert kernel.canonical(points, target, matrix)
    crop, confidences = alignment.transform(matrix, points).astype(np.float32), points[:, 0].astype(np.float32)
    placed = kernel.place(crop, confidences, matrix, 128, template, landmarks)
    angles = kernel.head_pose(points, POINTS3D, pose._WEIGHTS)
    return [five.tolist(), turned.tolist(), matrix.tolist(), landmarks.tolist(), placed, angles]


def test_several_threads_at_once_get_the_same() -> None:
    """The kernel holds no lock and no state: eight threads, each with a face of its own, get what one gets."""
    faces = [face(np.random.default_rng(i)) for i in range(64)]
    alone = [all_of(points) for points in faces]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(all_of, faces * 20)) == alone * 20


def test_the_kernel_is_the_one_in_use() -> None:
    assert _native.load("geometry") is pose._kernel is alignment._geometry is network._kernel
