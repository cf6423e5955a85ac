"""The Detector's promises about results, order, time and state, with painted faces (tests/aunet_sdk/painted.py)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import Detector, DetectorOptions, FrameResult, InvalidInput
from aunet_sdk.engines.base import Query
from aunet_sdk.pipeline import session as session_module
from aunet_sdk.pipeline.temporal import TemporalBuffer
from aunet_sdk.sources import Frame, VideoFile

from .painted import paint, painted_detector
from .streams import PERIOD_S, clip, probabilities, run, write_video


def test_full_look_ahead_gives_every_frame_once_in_order(reference: list[FrameResult]) -> None:
    assert [r.index for r in reference] == list(range(30))
    assert [r.timestamp_s for r in reference] == [i * PERIOD_S for i in range(30)]
    assert all([face.id for face in r.faces] == [1] for r in reference)
    assert not any(face.provisional for r in reference for face in r.faces)
    contexts = [r.faces[0].context.value for r in reference]
    assert contexts == ["future"] * 11 + ["full"] * 8 + ["past"] * 11  # a neighbour may be one period off
    first = reference[0]
    assert (first.width, first.height) == (320, 240)
    assert set(first.latency_ms) == {"decode", "find", "align", "network", "points", "total"}
    assert first.latency_ms["total"] > first.latency_ms["network"] > 0


def test_landmarks_and_box_lie_on_the_face(reference: list[FrameResult]) -> None:
    for i, result in enumerate(reference):
        face = result.faces[0]
        assert np.allclose(face.box[:2] + face.box[2:] / 2, (100 + i, 110), atol=1)
        assert abs(face.box[2:].mean() - 60) < 2
        assert 0.8 < face.score <= 1 and abs(face.pose.yaw_deg) < 1e-3
        assert set(face.au) == set(face.au_names) and ((face.probabilities > 0) & (face.probabilities < 1)).all()


def test_results_are_late_by_the_interval_and_no_more(detector: Detector) -> None:
    for i, (image, time_s) in enumerate(clip(16)):
        ready = detector.push(image, time_s)
        assert [r.timestamp_s for r in ready] == ([(i - 12) * PERIOD_S] if i >= 12 else [])
    assert len(detector.flush()) == 12


def test_every_answer_is_the_engines_own_for_these_three_frames(detector: Detector, monkeypatch) -> None:
    """The questions ride along with later crops; asked afterwards, one by one, the engine says the same."""
    records = []
    original = session_module.FrameRecord

    def remember(*args: object) -> object:
        records.append(original(*args))
        return records[-1]

    monkeypatch.setattr(session_module, "FrameRecord", remember)
    frames = clip(36)
    frames[16] = (paint((132, 110, 60), background=3), frames[16][1])  # a second look is needed
    frames[20] = (paint((40, 60, 45), background=3), frames[20][1])  # the face is lost
    del frames[26:29]  # several frames are due at once
    stream = detector.open_stream()
    results = [r for image, time_s in frames for r in stream.push(image, time_s)] + stream.flush()
    states = stream.session.states
    buffer: TemporalBuffer[int] = TemporalBuffer(detector.bundle.interval_s, "full")
    dues = [due for i, (_, time_s) in enumerate(frames) for due in buffer.add(time_s, i)] + buffer.flush()
    slots = [record.faces[1].slot if 1 in record.faces else None for record in records]
    contexts = set()
    for result, due in zip(results, dues, strict=True):
        own = slots[due.item]
        assert [face.id for face in result.faces] == ([] if own is None else [1])
        if own is None:
            continue
        former = None if due.former is None else slots[due.former]
        later = None if due.later is None else slots[due.later]
        logits = detector.engine.query([Query(former or own, own, later or own)], states)[0]
        logits, intensities = np.split(logits, 2)
        assert np.allclose(1 / (1 + np.exp(-logits)), result.faces[0].probabilities, atol=1e-6)
        assert np.allclose(intensities, result.faces[0].intensities, atol=1e-6)
        contexts.add((former is not None, later is not None, result.faces[0].context.value))
    assert contexts == {(True, True, "full"), (True, False, "past"), (False, True, "future"), (False, False, "none")}
    assert sum(slot is None for slot in slots) == 1


def test_the_same_again_gives_the_same_numbers(detector: Detector, reference: list[FrameResult]) -> None:
    again = run(detector, clip(30))
    assert np.array_equal(probabilities(again), probabilities(reference))
    assert [f.id for r in again for f in r.faces] == [f.id for r in reference for f in r.faces]


def test_half_the_frame_rate_looks_at_the_same_moments(detector: Detector) -> None:
    """At 15 fps the neighbours are still 0.4 s away: the same three pictures, the same probabilities."""
    still = [(paint((100, 110, 60), background=i), i * PERIOD_S) for i in range(36)]
    every = run(detector, still)
    half = run(detector, still[::2])
    for result in half[6:12]:  # frames 12 to 22: their neighbours are there at either rate
        face, twin = result.faces[0], every[2 * result.index].faces[0]
        assert face.context == twin.context == "full"
        assert np.allclose(face.probabilities, twin.probabilities, atol=1e-5)
    changes = np.abs(np.diff(probabilities(every), axis=0)).max()
    assert changes > 1e-4  # the pictures do differ


def test_without_look_ahead_results_come_at_once() -> None:
    with painted_detector(look_ahead="none") as causal:
        contexts = []
        for i, (image, time_s) in enumerate(clip(16)):
            (result,) = causal.push(image, time_s)
            assert result.index == i and not result.provisional
            contexts.append(result.faces[0].context.value)
        assert contexts == ["none"] * 11 + ["past"] * 5
        assert causal.flush() == []


def test_both_gives_the_early_and_the_final_results(reference: list[FrameResult]) -> None:
    with painted_detector(look_ahead="none") as causal:
        at_once = run(causal, clip(30))
    with painted_detector(look_ahead="both") as both:
        early, final = [], []
        for i, (image, time_s) in enumerate(clip(30)):
            ready = both.push(image, time_s)
            assert ready[-1].provisional and ready[-1].index == i and ready[-1].faces[0].provisional
            early.append(ready[-1])
            final += ready[:-1]
        final += both.flush()
    assert not any(r.provisional or r.faces[0].provisional for r in final)
    assert [r.index for r in final] == list(range(30))
    assert np.allclose(probabilities(final), probabilities(reference), atol=1e-6)
    assert np.allclose(probabilities(early), probabilities(at_once), atol=1e-6)
    assert np.abs(probabilities(early) - probabilities(final)).max() > 1e-4


def test_detect_video_equals_push_and_flush(detector: Detector, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", clip(25))
    offline = list(detector.detect_video(path))
    live = [r for frame in VideoFile(path) for r in detector.push(frame.image, frame.timestamp_s)] + detector.flush()
    assert [r.index for r in offline] == list(range(25)) == [r.index for r in live]
    assert [r.timestamp_s for r in offline] == [r.timestamp_s for r in live]
    assert probabilities(offline).shape == (25, len(detector.au_names))
    assert np.allclose(probabilities(offline), probabilities(live), atol=1e-6)
    assert all(np.array_equal(a.faces[0].landmarks, b.faces[0].landmarks) for a, b in zip(offline, live, strict=True))


def test_streams_of_frames_end_with_what_is_left(detector: Detector, reference: list[FrameResult]) -> None:
    frames = (Frame(image, time_s, i) for i, (image, time_s) in enumerate(clip(30)))
    results = list(detector.stream(frames))
    assert np.array_equal(probabilities(results), probabilities(reference))


def test_a_folder_streams_as_a_video(detector: Detector, tmp_path: Path) -> None:
    for i, (image, _) in enumerate(clip(14)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    results = list(detector.stream(tmp_path))
    assert [r.timestamp_s for r in results] == [i / 25 for i in range(14)]
    assert probabilities(results).tolist() == probabilities(run(detector, clip(14, 1 / 25))).tolist()


def test_a_single_picture_does_not_disturb_the_stream(detector: Detector, reference: list[FrameResult]) -> None:
    picture = paint((60, 60, 50), (200, 100, 80))
    results = []
    for i, frame in enumerate(clip(30)):
        results += detector.push(*frame)
        if i % 10 == 5:
            single = detector.detect(picture)
            assert [face.id for face in single.faces] == [1, 2]
            assert {face.context.value for face in single.faces} == {"none"}
            assert (single.index, single.timestamp_s) == (0, 0.0)
    results += detector.flush()
    assert np.array_equal(probabilities(results), probabilities(reference))


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (23, 23)])
def test_a_picture_too_small_for_a_face_has_none(detector: Detector, size: tuple[int, int]) -> None:
    """An array, such as a robot's own crop; a file of that size is refused (tests/aunet_sdk/sources/test_images.py)."""
    picture = np.zeros((*size, 3), np.uint8)
    result = detector.detect(picture)
    assert result.faces == () and (result.height, result.width) == size
    results = [*detector.push(picture, 0.0), *detector.flush()]
    assert [r.faces for r in results] == [()]


def test_other_kinds_of_pictures_are_converted(detector: Detector) -> None:
    picture = paint((100, 100, 60))
    expected = detector.detect(picture).faces[0].probabilities
    bgra = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    for other in (bgra, picture.astype(np.uint16) * 257, np.asfortranarray(picture)):
        assert np.allclose(detector.detect(other).faces[0].probabilities, expected, atol=1e-6)
    assert detector.detect(picture[..., 0]).faces == ()


def test_thresholds_and_a_choice_of_aus() -> None:
    with painted_detector(aus=("12", 1), thresholds=0.0) as some:
        face = some.detect(paint((100, 100, 60))).faces[0]
        assert face.au_names == ("AU1", "AU12") and face.active_aus == ("AU1", "AU12")
        assert set(face.au) == {"AU1", "AU12"}
        chosen = face.probabilities
    with painted_detector(thresholds={"AU12": 0.0, "AU1": 1.0}) as every:
        face = every.detect(paint((100, 100, 60))).faces[0]
        assert np.array_equal([face.au["AU1"], face.au["AU12"]], chosen.astype(float))
        assert face.active[face.au_names.index("AU12")] and not face.active[face.au_names.index("AU1")]
        by_bundle = dict(zip(every.bundle.au_names, every.bundle.thresholds, strict=True))
        assert all(
            on == (face.au[n] >= by_bundle[n])
            for n, on in zip(face.au_names, face.active, strict=True)
            if n not in ("AU1", "AU12")
        )
    for options in ({"aus": ("AU5",)}, {"thresholds": {"AU5": 0.5}}):
        with pytest.raises(InvalidInput, match="AU5"):
            Detector(DetectorOptions(**options))


def test_memory_stays_bounded_over_a_long_stream(detector: Detector) -> None:
    image = paint((100, 110, 60))
    lengths = set()
    stream = detector.open_stream()
    for i in range(60):
        stream.push(image, i * 0.05)
        if i > 20:
            lengths.add(stream.session.kept)
    assert max(lengths) <= 2 * 8 + 4
