"""The main job on the sample with the shipped model: the AUs show where the known track has them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, FrameResult

SCRIPTED = ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU15", "AU17", "AU25", "AU26")
ABSENT = ("AU7", "AU10", "AU14", "AU23", "AU24")
"""AUs of the model that the track never has"""
BLINKS_S = (0.4, 4.75, 9.75, 13.8)
"""when the eyes are shut in the sample (train/synthetic/clip.py); the track does not have it"""


@pytest.fixture(scope="module")
def results(repository: Path) -> list[FrameResult]:
    with Detector(DetectorOptions(threads=1)) as detector:
        return list(detector.detect_video(repository / "examples" / "sample.mp4"))


@pytest.fixture(scope="module")
def track(repository: Path) -> dict[str, np.ndarray]:
    with (repository / "examples" / "sample_track.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_one_face_with_one_id_in_every_frame(results: list[FrameResult]) -> None:
    assert len(results) == 350
    assert all(len(result.faces) == 1 for result in results)
    assert {result.faces[0].id for result in results} == {1}


@pytest.fixture(scope="module")
def rest(track: dict[str, np.ndarray]) -> np.ndarray:
    """Frames in which the track has no AU at all; two seconds of them at least."""
    calm = np.all([off(track, au) for au in (*SCRIPTED, *ABSENT)], axis=0)
    assert calm.sum() >= 50
    return calm


def off(track: dict[str, np.ndarray], au: str) -> np.ndarray:
    """Frames that the training labels would call off. A closed mouth has a lip gap too."""
    return track[au] <= (0.2 if au == "AU25" else 0.05)


def apex(track: dict[str, np.ndarray], au: str) -> np.ndarray:
    """Frames at the AU's strongest."""
    return track[au] >= 0.9 * track[au].max()


def probabilities(results: list[FrameResult], au: str) -> np.ndarray:
    return np.array([result.faces[0].au[au] for result in results])


def active(results: list[FrameResult], au: str) -> np.ndarray:
    return np.array([au in result.faces[0].active_aus for result in results])


def test_the_track_has_these_aus_and_no_others(results: list[FrameResult], track: dict[str, np.ndarray]) -> None:
    assert set(results[0].faces[0].au_names) == {*SCRIPTED, *ABSENT, "AU45"}
    assert all(track[au].max() > 0.8 for au in SCRIPTED) and all(track[au].max() == 0 for au in ABSENT)


@pytest.mark.parametrize("au", SCRIPTED)
def test_probability_rises_where_the_track_has_the_au(
    results: list[FrameResult], track: dict[str, np.ndarray], au: str
) -> None:
    probability = probabilities(results, au)
    # The share of pairs of frames that stand in the right order: the area under the ROC curve.
    order = (probability[track[au] > 0.5][:, None] > probability[off(track, au)][None]).mean()
    assert order > 0.9, f"{au}: {order:.3f}"


@pytest.mark.parametrize("au", SCRIPTED)
def test_an_au_is_active_at_its_apex_and_not_on_the_calm_face(
    results: list[FrameResult], track: dict[str, np.ndarray], rest: np.ndarray, au: str
) -> None:
    probability, on = probabilities(results, au), active(results, au)
    at_apex = apex(track, au)
    assert np.median(probability[at_apex]) > np.median(probability[rest])
    assert on[at_apex].mean() >= 0.75, f"active in {on[at_apex].mean():.0%} of the frames at the apex"
    assert on[rest].mean() <= 0.1, f"active in {on[rest].mean():.0%} of the frames at rest"


@pytest.mark.parametrize("au", ABSENT)
def test_an_au_that_the_track_never_has_is_seldom_active(results: list[FrameResult], rest: np.ndarray, au: str) -> None:
    on = active(results, au)
    assert on[rest].mean() <= 0.1, f"active in {on[rest].mean():.0%} of the frames at rest"
    assert on.mean() <= 0.33, f"active in {on.mean():.0%} of all frames"


def test_every_blink_is_seen_and_nothing_else_is_one(results: list[FrameResult]) -> None:
    shut = active(results, "AU45")
    began = [
        result.timestamp_s for result, before, now in zip(results, [False, *shut], shut, strict=False) if now > before
    ]
    assert len(began) == len(BLINKS_S)
    assert all(0 <= blink - begun <= 0.12 for begun, blink in zip(began, BLINKS_S, strict=True))
    assert shut.sum() <= 5 * len(BLINKS_S)
