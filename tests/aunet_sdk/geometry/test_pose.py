"""Head pose: a known turn is projected and comes back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import InvalidInput
from aunet_sdk.geometry.pose import head_pose


def mean_face() -> np.ndarray:
    """68 points with the proportions of a head in cm, y up, z towards the camera, symmetric."""
    face = np.zeros((68, 3))
    turn = np.linspace(-math.pi / 2, math.pi / 2, 17)
    face[:17] = np.column_stack([7.4 * np.sin(turn), 3.6 - 11 * np.cos(turn), 3.6 + 6.8 * np.cos(turn)])
    for start, sign in ((17, -1), (22, 1)):
        x = sign * np.linspace(5.5, 1.5, 5)[:: 1 if sign < 0 else -1]
        face[start : start + 5] = np.column_stack([x, 4.4 - 0.05 * x**2, 11 - 0.08 * x**2])
    face[27:31] = [[0, 3 - k, 10.5 + 0.9 * k] for k in range(4)]
    face[31:36] = [[x, -1, 11.4 - 0.3 * abs(x)] for x in (-1.5, -0.8, 0, 0.8, 1.5)]
    ring = np.linspace(0, 2 * math.pi, 6, endpoint=False)
    for start, x in ((36, -3.2), (42, 3.2)):
        face[start : start + 6] = np.column_stack([x - 1.4 * np.cos(ring), 3 + 0.5 * np.sin(ring), np.full(6, 9.2)])
    for start, count, width in ((48, 12, 2.6), (60, 8, 2.0)):
        ring = np.linspace(0, 2 * math.pi, count, endpoint=False)
        x = -width * np.cos(ring)
        face[start : start + count] = np.column_stack([x, -3.4 + 0.9 * np.sin(ring), 11 - 0.15 * x**2])
    return face


FACE = mean_face()


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Roll about the line of sight first, then up or down, then to the side; axes x right, y up, z to the camera."""
    yaw, pitch, roll = np.deg2rad([yaw_deg, -pitch_deg, -roll_deg])
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    return np.array(about_y) @ np.array(about_x) @ np.array(about_z)


def seen(turn: np.ndarray, scale: float = 9.0) -> np.ndarray:
    """Image points (68, 2), y down."""
    return scale * (FACE @ turn.T)[:, :2] * (1, -1) + (320, 180)


@given(yaw=st.floats(-85, 85), pitch=st.floats(-80, 80), roll=st.floats(-179, 179), scale=st.floats(0.5, 100))
def test_a_known_turn_comes_back(yaw, pitch, roll, scale):
    pose = head_pose(seen(rotation(yaw, pitch, roll), scale), FACE * 3)
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((yaw, pitch, roll), abs=1e-4)


def test_signs_in_the_image():
    """Told by the points themselves, not by the formula above."""
    right = seen(rotation(25, 0, 0))
    assert right[30, 0] - right[[36, 45], 0].mean() > 0  # the nose moves to the image's right
    assert head_pose(right, FACE).yaw_deg > 20
    up = seen(rotation(0, 20, 0))
    assert up[30, 1] - up[[36, 45], 1].mean() < seen(np.eye(3))[30, 1] - seen(np.eye(3))[[36, 45], 1].mean()
    assert head_pose(up, FACE).pitch_deg > 15
    clockwise = seen(rotation(0, 0, 30))
    assert clockwise[45, 1] > clockwise[36, 1]  # the eye on the image's right sinks
    assert head_pose(clockwise, FACE).roll_deg > 25


@given(yaw=st.floats(-50, 50), pitch=st.floats(-30, 30), roll=st.floats(-40, 40), seed=st.integers(0, 999))
def test_noise_of_a_hundredth_of_the_face_costs_a_few_degrees(yaw, pitch, roll, seed):
    points = seen(rotation(yaw, pitch, roll), 10)
    noisy = points + np.random.default_rng(seed).normal(0, 1.5, points.shape)
    pose = head_pose(noisy, FACE)
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((yaw, pitch, roll), abs=7)


def test_an_open_jaw_hardly_turns_the_head():
    points = seen(np.eye(3))
    points[3:14, 1] += 25  # 2.8 cm
    pose = head_pose(points, FACE)
    assert abs(pose.yaw_deg) < 1e-3 and abs(pose.roll_deg) < 1e-3 and abs(pose.pitch_deg) < 6


def test_the_answer_is_the_best_one():
    """No turn and scale nearby fits noisy points better than the answer's."""
    rng = np.random.default_rng(5)
    points = seen(rotation(30, -12, 8)) + rng.normal(0, 4, (68, 2))
    pose = head_pose(points, FACE)
    weights = np.ones(68)
    weights[:17], weights[17:27], weights[48:] = 0.1, 0.5, 0.5
    target = points * (1, -1) - np.average(points * (1, -1), axis=0, weights=weights)
    model = FACE - np.average(FACE, axis=0, weights=weights)

    def cost(yaw: float, pitch: float, roll: float) -> float:
        flat = (model @ rotation(yaw, pitch, roll).T)[:, :2]
        scale = (weights[:, None] * flat * target).sum() / (weights[:, None] * flat * flat).sum()
        return float((weights[:, None] * (scale * flat - target) ** 2).sum())

    best = cost(pose.yaw_deg, pose.pitch_deg, pose.roll_deg)
    for _ in range(200):
        d = rng.normal(0, 0.5, 3)
        assert cost(pose.yaw_deg + d[0], pose.pitch_deg + d[1], pose.roll_deg + d[2]) >= best - 1e-6 * best


@pytest.mark.parametrize(
    ("landmarks", "model", "message"),
    [
        (np.zeros((68, 2)), FACE, "coincide"),
        (np.full((68, 2), np.nan), FACE, "NaN"),
        (np.zeros((5, 2)), FACE, "landmarks"),
        (FACE[:, :2], FACE[:, :2], "points3d"),
        (FACE[:, :2], FACE * (1, 1, 0), "plane"),
    ],
)
def test_bad_input_is_refused(landmarks, model, message):
    with pytest.raises(InvalidInput, match=message):
        head_pose(landmarks, model)
