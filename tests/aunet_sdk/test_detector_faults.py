"""What the Detector is given wrong, or what fails inside it, costs no result of another frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput, SourceLost
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.sources import Frame

from .painted import paint, painted_detector
from .streams import PERIOD_S, clip, probabilities, run, write_video


def test_a_broken_video_keeps_its_good_frames(detector: Detector, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", clip(25))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    results = []
    with pytest.raises(SourceLost, match="of 25"):
        for result in detector.detect_video(path):
            results.append(result)
    assert 5 < len(results) < 25
    assert [r.index for r in results] == list(range(len(results)))
    assert len(results[-1].faces) == 1


@pytest.mark.parametrize(
    "bad, words",
    [
        (Frame(paint(), 9 * PERIOD_S, 10), "expected a time after"),
        (Frame(paint(), float("nan"), 10), "timestamp_s"),
        (Frame(np.zeros((4, 4, 2), np.uint8), 1.0, 10), "shape"),
    ],
)
def test_a_stream_with_a_wrong_frame_keeps_its_good_ones(detector: Detector, bad: Frame, words: str) -> None:
    good = [Frame(image, time_s, i) for i, (image, time_s) in enumerate(clip(10))]
    results = []
    with pytest.raises(InvalidInput, match=words):
        for result in detector.stream([*good, bad, Frame(paint(), 2.0, 11)]):
            results.append(result)
    assert [r.index for r in results] == list(range(10))
    assert all(len(r.faces) == 1 for r in results)


def test_wrong_frames_are_refused_and_nothing_is_lost(detector: Detector, reference: list[FrameResult]) -> None:
    bad_images = [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(10, np.uint8),
        "picture",
        None,
    ]
    bad_times = [float("nan"), float("inf"), -1.0, 0.0, None, "1", True]
    frames = clip(30)
    results = []
    for i, (image, time_s) in enumerate(frames):
        if i % 3 == 1:
            for bad in bad_images:
                with pytest.raises(InvalidInput, match="expected"):
                    detector.push(bad, time_s)  # type: ignore[arg-type]
            for bad_time in [*bad_times, frames[i - 1][1]]:
                with pytest.raises(InvalidInput, match="timestamp_s"):
                    detector.push(image, bad_time)  # type: ignore[arg-type]
        results += detector.push(image, time_s)
    results += detector.flush()
    assert [r.index for r in results] == list(range(30))
    assert np.array_equal(probabilities(results), probabilities(reference))


class Unlucky:
    """An engine's `step` that raises in place of its `call`th call, once."""

    def __init__(self, detector: Detector, monkeypatch: pytest.MonkeyPatch, call: int = 0) -> None:
        self.left = call
        self._step = detector.engine.step
        monkeypatch.setattr(detector.engine, "step", self)

    def __call__(self, *args: object, **more: object) -> object:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("the device is gone")
        return self._step(*args, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("look_ahead", ["full", "none", "both"])
def test_an_error_inside_a_frame_takes_no_other_result_with_it(look_ahead: str, monkeypatch) -> None:
    frames = clip(30)
    with painted_detector(look_ahead=look_ahead) as detector:
        expected = run(detector, frames[:13] + frames[14:])
        results = []
        for i, (image, time_s) in enumerate(frames):
            if i == 13:
                with monkeypatch.context() as patch:
                    Unlucky(detector, patch)
                    with pytest.raises(RuntimeError, match="gone"):
                        detector.push(image, time_s)
                continue
            results += detector.push(image, time_s)
        results += detector.flush()
    assert [(r.index, r.timestamp_s, r.provisional) for r in results] == [
        (r.index, r.timestamp_s, r.provisional) for r in expected
    ]
    assert [r.index for r in results if not r.provisional] == list(range(29))
    assert np.array_equal(probabilities(results), probabilities(expected))


def test_a_frame_with_an_error_may_be_pushed_again(
    detector: Detector, reference: list[FrameResult], monkeypatch
) -> None:
    results = []
    for image, time_s in clip(30):
        with monkeypatch.context() as patch:
            Unlucky(detector, patch)
            with pytest.raises(RuntimeError, match="gone"):
                detector.push(image, time_s)
        results += detector.push(image, time_s)
    results += detector.flush()
    assert [(r.index, r.timestamp_s) for r in results] == [(r.index, r.timestamp_s) for r in reference]
    assert np.array_equal(probabilities(results), probabilities(reference))


def test_after_an_error_flush_may_be_called_again(
    detector: Detector, reference: list[FrameResult], monkeypatch
) -> None:
    results = [r for image, time_s in clip(30) for r in detector.push(image, time_s)]

    def gone(queries: object, states: object) -> None:
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(detector.engine, "query", gone)
        with pytest.raises(RuntimeError, match="gone"):
            detector.flush()
    results += detector.flush()
    assert [(r.index, r.timestamp_s) for r in results] == [(r.index, r.timestamp_s) for r in reference]
    assert np.array_equal(probabilities(results), probabilities(reference))
    assert detector.flush() == []


def test_after_an_error_in_the_second_step_the_frame_counts_as_never_seen(monkeypatch) -> None:
    """What its first step had answered was kept, with the failed frame as the later neighbour."""
    frames = clip(30)
    frames[16:] = [(paint((116 + i, 110, 60)), i * PERIOD_S) for i in range(16, 30)]  # a second look is needed once
    with painted_detector() as detector:
        expected = run(detector, frames[:16] + frames[17:])
        results = []
        for i, (image, time_s) in enumerate(frames):
            if i == 16:
                with monkeypatch.context() as patch:
                    unlucky = Unlucky(detector, patch, call=1)
                    with pytest.raises(RuntimeError, match="gone"):
                        detector.push(image, time_s)
                assert unlucky.left == -1, "it was the second step that failed"
            else:
                results += detector.push(image, time_s)
        results += detector.flush()
    assert [r.index for r in results] == list(range(29)) and all(len(r.faces) == 1 for r in results)
    assert np.array_equal(probabilities(results), probabilities(expected))
    assert [r.faces[0].context for r in results] == [r.faces[0].context for r in expected]


def test_after_close_every_method_says_so(tmp_path: Path) -> None:
    with painted_detector() as detector:
        waiting = detector.stream([Frame(paint(), 0.0, 0)])
    detector.close()
    for call in (
        lambda: detector.detect(paint()),
        lambda: detector.push(paint(), 0.0),
        detector.flush,
        lambda: list(detector.stream([])),
        lambda: list(detector.detect_video(tmp_path)),
        lambda: list(waiting),
    ):
        with pytest.raises(AUNetError, match="closed"):
            call()


def test_bad_paths_are_refused_at_once(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "missing.mp4"):
        with pytest.raises(InvalidInput, match=name):
            detector.detect_video(tmp_path / name)
        with pytest.raises(InvalidInput, match=name):
            detector.stream(tmp_path / name)


def camera(count: int, error: BaseException | None = None, image: object = None) -> Iterator[Frame]:
    """So many good frames, and then this error, or this in place of a frame."""
    for i, (picture, time_s) in enumerate(clip(count)):
        yield Frame(picture, time_s, i)
    if error is not None:
        raise error
    yield image  # type: ignore[misc]


@pytest.mark.parametrize("error", [OSError("the cable"), KeyboardInterrupt(), RuntimeError("odd"), MemoryError()])
def test_whatever_a_source_raises_comes_after_the_results_of_its_frames(
    detector: Detector, error: BaseException
) -> None:
    """After 25 frames an OSError or Ctrl-C left 13 results: those that still waited were lost."""
    results = []
    with pytest.raises(type(error)):
        for result in detector.stream(camera(25, error)):
            results.append(result)
    assert [r.index for r in results] == list(range(25)) and all(len(r.faces) == 1 for r in results)


@pytest.mark.parametrize("broken, words", [(None, "NoneType"), (paint(), "picture without its time"), ("x", "str")])
def test_what_is_no_frame_is_named_with_its_position(detector: Detector, broken: object, words: str) -> None:
    """A None ended the stream in silence, an array was an AttributeError."""
    results = []
    with pytest.raises(InvalidInput, match=f"position 10, got .*{words}"):
        for result in detector.stream(camera(10, image=broken)):
            results.append(result)
    assert [r.index for r in results] == list(range(10))
    with pytest.raises(InvalidInput, match="position 0"):
        list(detector.stream([broken]))  # type: ignore[list-item]
    for nothing in (None, 3.5):
        with pytest.raises(InvalidInput, match="source: expected"):
            detector.stream(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["finder", "engine"])
def test_an_error_of_a_part_comes_after_the_results_of_earlier_frames(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine error at step 12 took all results with it."""
    with painted_detector(detect_interval_s=0) as detector:
        expected = run(detector, clip(12))
        stream = detector.stream(Frame(image, time_s, i) for i, (image, time_s) in enumerate(clip(30)))
        real = detector.finder.find if part == "finder" else detector.engine.step
        left = 13  # of the first frame the engine makes two steps

        def unlucky(*args: object) -> object:
            nonlocal left
            left -= 1
            if left < (1 if part == "finder" else 0):
                raise RuntimeError("gone for good")
            return real(*args)  # type: ignore[operator]

        monkeypatch.setattr(*((detector.finder, "find") if part == "finder" else (detector.engine, "step")), unlucky)
        results = []
        with pytest.raises(RuntimeError, match="for good"):
            for result in stream:
                results.append(result)
    assert [r.index for r in results] == list(range(12))
    assert np.array_equal(probabilities(results), probabilities(expected))


def test_an_engine_that_is_gone_for_good_is_told_with_the_first_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What can no longer be answered is logged; the error is the one that came first."""
    with painted_detector() as detector:
        stream = detector.stream(camera(20, OSError("the cable")))
        next(stream)

        def gone(*_: object) -> None:
            raise RuntimeError("the device is gone")

        monkeypatch.setattr(detector.engine, "step", gone)
        monkeypatch.setattr(detector.engine, "query", gone)
        with pytest.raises(RuntimeError, match="device is gone"):
            list(stream)
    assert "12 frames that were read have no result: the device is gone" in caplog.text


def test_times_in_milliseconds_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Every context was "none", and nobody said why."""
    with painted_detector() as detector:
        results = run(detector, [(image, 1000 * time_s) for image, time_s in clip(20)])
        assert {f.context.value for r in results for f in r.faces} == {"none"}
        assert caplog.text.count("divide milliseconds by 1000") == 1
        caplog.clear()
        run(detector, clip(20))
        run(detector, [(image, 20 * time_s) for image, time_s in clip(20)])
        assert not caplog.text


def test_a_network_that_cannot_be_made_leaves_no_engine_open() -> None:
    closed: list[bool] = []

    class Engine(OrtStreamEngine):
        def close(self) -> None:
            closed.append(True)
            super().close()

    def broken(_: object) -> NoReturn:
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        painted_detector(engine_of=lambda *_: Engine(threads=1), network_of=broken)
    assert closed == [True]
