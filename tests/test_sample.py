"""The main job on the sample with the shipped model: the AUs show where the known track has them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, FrameResult


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


@pytest.mark.parametrize("au", ["AU1", "AU2", "AU4", "AU9", "AU12", "AU15", "AU17", "AU25", "AU26"])
def test_probability_rises_where_the_track_has_the_au(
    results: list[FrameResult], track: dict[str, np.ndarray], au: str
) -> None:
    probability = np.array([result.faces[0].au[au] for result in results])
    # A closed mouth has a lip gap too: off is what the training labels call off.
    on, off = track[au] > 0.5, track[au] <= (0.2 if au == "AU25" else 0.05)
    assert on.any() and off.any()
    # The share of pairs of frames that stand in the right order: the area under the ROC curve.
    order = (probability[on][:, None] > probability[off][None]).mean()
    assert order > 0.9, f"{au}: {order:.3f}"


def test_a_smile_is_active_at_its_apex_and_not_on_the_calm_face(results: list[FrameResult]) -> None:
    def at(time_s: float) -> tuple[str, ...]:
        return min(results, key=lambda result: abs(result.timestamp_s - time_s)).faces[0].active_aus

    assert "AU12" in at(6.0)
    assert "AU12" not in at(0.2) and "AU12" not in at(13.9)
