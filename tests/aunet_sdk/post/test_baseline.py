"""The face at rest: what it learns, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import Detector, DetectorOptions, InvalidInput
from aunet_sdk.post.baseline import ENOUGH_S, FORGET_S, MARGIN, MOST, RestingFaces
from aunet_sdk.sources import VideoFile

FPS = 25


def watch(faces: RestingFaces, levels: list[tuple[float, float]], face_id: int = 1, start_s: float = 0.0) -> np.ndarray:
    """Logits after the lowering of one AU that stands at (logit, for so many seconds) in turn."""
    seen, time_s = [], start_s
    for logit, seconds in levels:
        for _ in range(round(seconds * FPS)):
            logits = np.array([logit])
            seen.append(logit - faces.lowering(face_id, logits, time_s)[0])
            time_s += 1 / FPS
    return np.array(seen)


def test_what_a_face_reads_at_rest_is_lowered_below_the_threshold() -> None:
    faces = RestingFaces([0.5])
    seen = watch(faces, [(0.6, 2 * ENOUGH_S), (4.0, 3.0), (0.6, 5.0)])
    at_rest, smile = seen[round(2 * ENOUGH_S * FPS) - 1], seen[round((2 * ENOUGH_S + 1) * FPS)]
    assert seen[0] == 0.6, "nobody is lowered at first sight"
    assert at_rest == pytest.approx(-MARGIN, abs=0.15)
    assert smile > 1.5, "and a real movement stays one"
    assert seen[-1] == pytest.approx(-MARGIN, abs=0.3)


def test_who_is_calm_below_the_threshold_is_left_alone() -> None:
    seen = watch(RestingFaces([0.5]), [(-2.0, 20.0), (3.0, 4.0), (-2.0, 10.0)])
    assert set(seen.tolist()) == {-2.0, 3.0}


def test_a_smile_on_end_is_still_one() -> None:
    seen = watch(RestingFaces([0.5]), [(4.5, 180.0)])
    assert seen.min() >= 4.5 - MOST > 0


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.floats(0, 3)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
)
def test_nothing_is_raised_and_nothing_lowered_by_more_than_that(
    steps: list[tuple[float, float]], limit: float
) -> None:
    faces, time_s = RestingFaces([limit]), 0.0
    for logit, step_s in steps:
        time_s += step_s
        (lowered,) = faces.lowering(7, np.array([logit]), time_s)
        assert 0 <= lowered <= MOST


def test_faces_do_not_mix_and_a_look_without_learning_changes_nothing() -> None:
    faces, alone = RestingFaces([0.5]), RestingFaces([0.5])
    expected = watch(alone, [(1.0, 8.0)], face_id=1)
    got, time_s = [], 0.0
    for value in np.full(8 * FPS, 1.0):
        got.append(1.0 - faces.lowering(1, np.array([value]), time_s)[0])
        faces.lowering(2, np.array([-5.0]), time_s)
        faces.lowering(1, np.array([9.0]), time_s, learn=False)
        faces.lowering(3, np.array([9.0]), time_s, learn=False)
        time_s += 1 / FPS
    np.testing.assert_array_equal(got, expected)
    assert len(faces) == 2


def test_faces_that_stay_away_are_forgotten() -> None:
    faces = RestingFaces([0.5])
    for face_id in range(50):
        watch(faces, [(1.0, 0.2)], face_id, start_s=face_id * 60.0)
    assert len(faces) <= FORGET_S / 60 + 2


def test_a_gap_is_no_long_rest() -> None:
    faces = RestingFaces([0.5])
    faces.lowering(1, np.array([2.0]), 0.0)
    assert faces.lowering(1, np.array([2.0]), 100.0)[0] < 0.2


def test_in_the_detector(repository: Path) -> None:
    """The sample through `detect_video` and through `push` with the baseline, and beside the plain one."""
    clip = repository / "examples" / "sample.mp4"
    frames = [(frame.image.copy(), frame.timestamp_s) for frame in VideoFile(clip)][:150]
    options = DetectorOptions(baseline="person", engine="onnxruntime", threads=1)
    with Detector(options) as detector, Detector(DetectorOptions(engine="onnxruntime", threads=1)) as plain:
        pushed = [result for image, time_s in frames for result in detector.push(image, time_s)] + detector.flush()
        usual = [result for image, time_s in frames for result in plain.push(image, time_s)] + plain.flush()
        whole = [result for result, _ in zip(detector.detect_video(clip), range(100), strict=False)]
        single = detector.detect(frames[0][0]), plain.detect(frames[0][0])
    for one, other in zip(whole, pushed, strict=False):
        np.testing.assert_array_equal(one.faces[0].probabilities, other.faces[0].probabilities)
    lowered = np.array(
        [b.faces[0].probabilities - a.faces[0].probabilities for a, b in zip(pushed, usual, strict=True)]
    )
    assert lowered.min() > -1e-6, "nothing is raised"
    np.testing.assert_array_equal(single[0].faces[0].probabilities, single[1].faces[0].probabilities)


def test_the_option_is_checked() -> None:
    with pytest.raises(InvalidInput, match="baseline: expected one of none, person, got 'neutral'"):
        DetectorOptions(baseline="neutral")  # type: ignore[arg-type]
