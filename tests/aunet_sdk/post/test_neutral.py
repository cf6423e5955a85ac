"""The points at rest: found among movement, bounded, undone, and set by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import InvalidInput
from aunet_sdk.post.neutral import FORGET_S, MOST_FACES, MOST_SAMPLES, READY_S, NeutralFaces, normalised
from aunet_sdk.results import HeadPose

FRONTAL = HeadPose(0.0, 0.0, 0.0)
REST = np.random.default_rng(0).uniform(-8, 8, (68, 2)).astype(np.float32)
RAISED = REST - np.where(np.arange(68)[:, None] < 27, (0.0, 1.5), (0.0, 0.0)).astype(np.float32)


def watch(
    faces: NeutralFaces, begin_s: float, end_s: float, points: np.ndarray, activity: float = 0.0, face_id: int = 1,
    noise: float = 0.0, pose: HeadPose = FRONTAL, fps: float = 25,
) -> None:  # fmt: skip
    rng = np.random.default_rng(1)
    for i in range(round(begin_s * fps), round(end_s * fps)):
        if faces.wants(face_id, i / fps):
            faces.take(face_id, i / fps)
            seen = points + noise * rng.standard_normal((68, 2), np.float32)
            faces.see(face_id, seen.astype(np.float32), activity, pose, i / fps)
        faces.commit()


@given(
    st.floats(-3, 3), st.floats(0.2, 50), st.tuples(st.floats(-500, 500), st.floats(-500, 500))
)  # fmt: skip
def test_distance_roll_and_place_leave_no_trace(angle: float, size: float, place: tuple[float, float]) -> None:
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(normalised(REST.astype(float) @ turn.T + place), normalised(REST), atol=1e-3)
    found = normalised(REST)
    np.testing.assert_allclose((found[36:42].mean(0), found[42:48].mean(0)), ((-5, 0), (5, 0)), atol=1e-4)


def test_it_is_ready_after_two_seconds_and_finds_rest_among_movement() -> None:
    faces = NeutralFaces()
    watch(faces, 0, READY_S - 0.1, REST)
    assert faces.reference(1) is None and faces.reference(2) is None
    watch(faces, READY_S - 0.1, 2.0, REST)
    found = faces.reference(1)
    assert found is not None and not found.flags.writeable
    np.testing.assert_allclose(found, REST, atol=1e-5)
    watch(faces, 2.0, 6.0, RAISED, activity=1.5, noise=0.1)
    watch(faces, 6.0, 8.0, REST + 3, pose=HeadPose(40.0, 0.0, 0.0))
    found = faces.reference(1)
    assert found is not None
    assert np.abs(found - REST).mean() < 0.05 * np.abs(RAISED - REST).max(), "brows were up for two thirds of the time"


def test_what_is_kept_is_bounded_and_spans_more_and_more_time() -> None:
    faces = NeutralFaces()
    watch(faces, 0, 60, REST, fps=10)
    watch(faces, 60, 400, REST + 1, fps=10)
    person = faces._people[1]
    assert person.count <= MOST_SAMPLES and person.period_s == 1.0
    np.testing.assert_allclose(faces.reference(1), REST + 1, atol=1e-5)
    for face_id in range(2, MOST_FACES + 20):
        watch(faces, 400, 400.2, REST, face_id=face_id)
    assert len(faces) == MOST_FACES
    watch(faces, 401 + FORGET_S, 402 + FORGET_S, REST, face_id=1000)
    assert len(faces) == 1


def test_a_frame_that_fails_leaves_no_trace() -> None:
    one, other = NeutralFaces(), NeutralFaces()
    for i in range(100):
        time_s = i / 25
        for faces, failing in ((one, i % 3 == 0), (other, False)):
            for attempt in range(2 if failing else 1):
                if faces.wants(1, time_s):
                    faces.take(1, time_s)
                    faces.see(1, REST + i, 0.0, FRONTAL, time_s)
                if failing and attempt == 0:
                    faces.discard()
            faces.commit()
    np.testing.assert_array_equal(one.reference(1), other.reference(1))
    assert one._people[1].count == other._people[1].count


def test_calibration_holds_and_has_to_have_seen_the_face() -> None:
    for automatic in (True, False):
        faces = NeutralFaces(automatic)
        with pytest.raises(InvalidInput, match="watched for about a second"):
            faces.calibrate(1)
        watch(faces, 0, 3, REST)
        assert (faces.reference(1) is not None) == automatic
        watch(faces, 3, 4.5, RAISED)
        faces.calibrate(1)
        np.testing.assert_allclose(faces.reference(1), RAISED, atol=1e-5)
        watch(faces, 4.5, 20, REST)
        np.testing.assert_allclose(faces.reference(1), RAISED, atol=1e-5)


def test_points_that_are_no_numbers_are_passed_over() -> None:
    faces = NeutralFaces()
    watch(faces, 0, 2, np.full((68, 2), np.nan, np.float32))
    assert len(faces) == 0
