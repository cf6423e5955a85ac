"""A person at rest, from frames to decisions: which decision has which reference, in every kind of stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.pipeline.emission import Emission
from aunet_sdk.post.neutral import normalised
from aunet_sdk.sources import Frame

from .painted import face_in, paint, painted_detector
from .reference_graph import describe, write

FPS = 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write(tmp_path_factory.mktemp("neutral") / "a.onnx", describe()))


@pytest.fixture
def made(bundle: Bundle) -> Iterator[Any]:
    detectors = []

    def get(**options: Any) -> Detector:
        detectors.append(
            painted_detector(
                engine_of=lambda *_: OrtStreamEngine(bundle, threads=1, max_faces=2, fps=FPS),
                model=str(bundle.path),
                max_faces=2,
                **options,
            )
        )
        return detectors[-1]

    yield get
    for detector in detectors:
        detector.close()


def picture(i: int) -> np.ndarray:
    return paint((100 + i % 7, 110, 60), background=i)


def frames(count: int, first: int = 0) -> list[Frame]:
    return [Frame(picture(i), i / FPS, i) for i in range(first, first + count)]


def strengths(results: list[FrameResult]) -> list[float]:
    """The intensity says which reference there was: .5 for none."""
    return [round(face.intensity["AU12"], 5) for r in results for face in r.faces]  # type: ignore[arg-type]


def at_rest(bundle: Bundle) -> float:
    """Of the painted face, which is always the mean face."""
    points = normalised(face_in(np.array([70.0, 80, 60, 60]), np.asarray(bundle.points3d)))
    return float(1 / (1 + np.exp(-points.sum(dtype=np.float64))))


@pytest.mark.parametrize("look_ahead", ["full", "none", "both"])
def test_the_reference_is_there_after_two_seconds(made: Any, bundle: Bundle, look_ahead: str) -> None:
    detector = made(neutral="auto", look_ahead=look_ahead)
    results = [r for frame in frames(50) for r in detector.push(frame.image, frame.timestamp_s)] + detector.flush()
    final = strengths([r for r in results if not r.provisional])
    assert len(final) == 50 and set(final[:16]) == {0.5}
    assert final[30:] == pytest.approx([at_rest(bundle)] * 20, abs=2e-4) and at_rest(bundle) != pytest.approx(0.5)
    early = strengths([r for r in results if r.provisional])
    assert len(early) == (50 if look_ahead == "both" else 0) and early[40:] == pytest.approx(final[40:][: len(early)])


def test_off_means_unknown_and_intensities_all_the_same(made: Any) -> None:
    detector = made(neutral="off")
    assert set(strengths(list(detector.stream(frames(40))))) == {0.5}
    assert detector.detect(picture(0)).faces[0].intensity == {"AU1": 0.5, "AU4": 0.5, "AU12": 0.5}


def test_offline_equals_live(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 240))
    for frame in frames(45):
        writer.write(frame.image)
    writer.release()
    detector = made(neutral="auto")
    offline = list(detector.detect_video(path))
    from aunet_sdk.sources import VideoFile

    with VideoFile(path) as video:
        live = [r for frame in video for r in detector.push(frame.image, frame.timestamp_s)] + detector.flush()
    assert strengths(offline) == strengths(live) and len(set(strengths(live))) > 1


def test_calibration_counts_from_the_next_decision_on(made: Any, bundle: Bundle) -> None:
    detector = made(neutral="off", look_ahead="none")
    before = [r for frame in frames(30) for r in detector.push(frame.image, frame.timestamp_s)]
    assert set(strengths(before)) == {0.5}
    with pytest.raises(InvalidInput, match=r"face_id: .*\(1\), got 2"):
        detector.calibrate(2)
    detector.calibrate(1)
    assert strengths(detector.push(picture(30), 3.0)) == pytest.approx([at_rest(bundle)], abs=2e-4)
    with detector.open_stream() as stream:
        assert strengths(stream.push(picture(0), 0.0)) == [0.5], "another stream has other people"


@pytest.mark.parametrize("look_ahead", ["full", "none", "both"])
def test_a_frame_that_fails_is_not_learned_from(made: Any, monkeypatch: pytest.MonkeyPatch, look_ahead: str) -> None:
    """Every third frame fails once while its results are made, at the last moment, and is pushed again."""
    detector = made(neutral="auto", look_ahead=look_ahead)
    expected = [r for frame in frames(45) for r in detector.push(frame.image, frame.timestamp_s)] + detector.flush()
    real, left = Emission._face, 0

    def failing(self: Emission, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        if left == 1:
            left = 0
            raise AUNetError("a fault of the test")
        left -= 1
        return real(self, *arguments, **named)

    monkeypatch.setattr(Emission, "_face", failing)
    got, faults = [], 0
    for i, frame in enumerate(frames(45)):
        left = 1 if i % 3 == 0 else 0
        try:
            got += detector.push(frame.image, frame.timestamp_s)
        except AUNetError:
            faults += 1
            got += detector.push(frame.image, frame.timestamp_s)
    got += detector.flush()
    assert faults > 10 and strengths(got) == strengths(expected)
