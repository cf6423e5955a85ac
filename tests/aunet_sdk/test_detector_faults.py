"""What the Detector is given wrong, or what fails inside it, costs no result of another frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput, SourceLost
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

    def __call__(self, *args: object) -> object:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("the device is gone")
        return self._step(*args)  # type: ignore[arg-type]


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

    def gone(queries: object) -> None:
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(detector.engine, "query", gone)
        with pytest.raises(RuntimeError, match="gone"):
            detector.flush()
    results += detector.flush()
    assert [(r.index, r.timestamp_s) for r in results] == [(r.index, r.timestamp_s) for r in reference]
    assert np.array_equal(probabilities(results), probabilities(reference))
    assert detector.flush() == []


def test_after_an_error_the_engine_is_not_asked_twice(detector: Detector, monkeypatch) -> None:
    """It gives up states of a frame that was due: what it answered in a frame's first step outlives its second."""
    frames = clip(30)
    frames[16:] = [(paint((116 + i, 110, 60)), i * PERIOD_S) for i in range(16, 30)]  # a second look is needed once
    asked: list[int] = []
    kept: list[object] = []
    real = detector.engine.step

    def step(n_new: int, queries=(), causal=None):  # type: ignore[no-untyped-def]
        result = real(n_new, queries, causal)
        riding = [query.due for query in queries if query is not None]
        kept.extend(riding)  # so that no id is used again
        asked.extend(map(id, riding))
        return result

    results = []
    for i, (image, time_s) in enumerate(frames):
        with monkeypatch.context() as patch:
            patch.setattr(detector.engine, "step", step)
            if i == 16:
                with patch.context() as inner:
                    unlucky = Unlucky(detector, inner, call=1)
                    with pytest.raises(RuntimeError, match="gone"):
                        detector.push(image, time_s)
                assert unlucky.left == -1, "it was the second step that failed"
            results += detector.push(image, time_s)
    results += detector.flush()
    assert [r.index for r in results] == list(range(30)) and all(len(r.faces) == 1 for r in results)
    assert len(set(asked)) == len(asked)


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
