"""Several streams over one engine: none disturbs another, none wedges, and all may be pushed to from threads."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput
from aunet_sdk.engines import StreamEngine
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.engines.states import RingStates

from .painted import paint, painted_detector
from .streams import PERIOD_S, clip, probabilities, run, write_video


def same(results: list[FrameResult], expected: list[FrameResult]) -> bool:
    return [(r.index, r.timestamp_s, [(f.id, f.context) for f in r.faces]) for r in results] == [
        (r.index, r.timestamp_s, [(f.id, f.context) for f in r.faces]) for r in expected
    ] and np.array_equal(probabilities(results), probabilities(expected))


@pytest.mark.parametrize("look_ahead", ["full", "none", "both"])
def test_frames_that_come_very_fast_have_less_context_and_never_wedge(
    look_ahead: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With times 2 ms apart every push failed from the 200th on, also a second later, and so did flush: the row of a
    frame that was due had been given away, and the frame was put back to be asked again."""
    with painted_detector(look_ahead=look_ahead, max_faces=1) as detector:
        stream = detector.open_stream()
        expected = run(detector, clip(30))
        with caplog.at_level(logging.WARNING, "aunet_sdk"):
            results = []
            for i in range(450):
                results += stream.push(paint((100, 110, 60), background=i), 0.002 * i)
                assert stream.session.kept <= 2 * 97 + 1
            results += stream.push(paint((100, 110, 60)), 100.0)
            results += stream.flush()
        final = [r for r in results if not r.provisional]
        assert [r.index for r in final] == list(range(451))
        assert [len(r.faces) for r in final] == [1] * 451 and stream.faces_unanswered == 0
        contexts = [r.faces[0].context.value for r in final]
        assert set(contexts[:100]) <= {"none", "future"} and set(contexts[210:-100]) == {"none"}
        assert caplog.text.count("faster than 240 a second") == 1 and "ring" not in caplog.text
        states = stream.session.states
        assert isinstance(states, RingStates)
        assert [ring.rows <= 209 for ring in states.rings] == [True]
        again = [r for image, time_s in clip(30) for r in stream.push(image, time_s)] + stream.flush()
        assert same(again, expected)


def test_240_frames_a_second_have_all_their_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    """Also with several faces, as many as may be followed; a slow-motion video."""
    random = np.random.default_rng(0)
    times = np.arange(300) / 240 + random.uniform(-2e-4, 2e-4, 300)
    with painted_detector(max_faces=2) as detector, caplog.at_level(logging.WARNING, "aunet_sdk"):
        frames = [(paint((80, 80, 50), (220, 150, 60), background=i), t) for i, t in enumerate(times)]
        results = run(detector, frames)
    assert [len(r.faces) for r in results] == [2] * 300 and not caplog.text
    assert {f.context.value for r in results[100:200] for f in r.faces} == {"full"}


def test_iterators_in_turns_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Ten iterators with max_faces=1 failed at frame 10: they took each other's rows."""
    path = write_video(tmp_path / "clip.avi", clip(30))
    with painted_detector(max_faces=1) as detector:
        expected = list(detector.detect_video(path))
        iterators = [detector.detect_video(path) for _ in range(10)]
        results: list[list[FrameResult]] = [[] for _ in iterators]
        for _ in range(30):
            for iterator, got in zip(iterators, results, strict=True):
                got.append(next(iterator))
        assert all(next(iterator, None) is None for iterator in iterators)
        assert all(same(got, expected) for got in results)


def test_streams_in_turns_on_openvino_do_not_disturb_each_other() -> None:
    """Its rings are bound by address, as ONNX Runtime's are: each stream must be answered from its own."""
    pytest.importorskip("openvino")
    with painted_detector(engine="openvino", max_faces=1) as detector:
        expected = run(detector, clip(30))
        streams = [detector.open_stream() for _ in range(3)]
        results: list[list[FrameResult]] = [[] for _ in streams]
        for image, time_s in clip(30):
            for shift, (stream, got) in enumerate(zip(streams, results, strict=True)):
                got += stream.push(image, time_s + 100 * shift)
        for stream, got in zip(streams, results, strict=True):
            got += stream.flush()
            np.testing.assert_allclose(probabilities(got), probabilities(expected), atol=1e-6)
            assert [[f.context for f in r.faces] for r in got] == [[f.context for f in r.faces] for r in expected]


class Forgetful(OrtStreamEngine):
    """Its device has memory for a few frames alone."""

    def _new_rings(self, fps: float):  # type: ignore[no-untyped-def]
        rings = super()._new_rings(5)
        for ring in rings:
            ring._max_rows = ring.rows
        return rings


@pytest.mark.parametrize("look_ahead", ["full", "both"])
def test_a_device_without_memory_costs_context_and_faces_but_no_stream(
    look_ahead: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A face whose state is gone is left out and counted, or has its early answer, and the frame has its result."""
    with painted_detector(engine_of=lambda *_: Forgetful(threads=1, max_faces=1), look_ahead=look_ahead) as detector:
        with caplog.at_level(logging.WARNING, "aunet_sdk"):
            results = run(detector, clip(40))
        final = [r for r in results if not r.provisional]
        assert [r.index for r in final] == list(range(40))
        missing = sum(not r.faces for r in final)
        if look_ahead == "full":
            assert detector.faces_unanswered == missing > 10
            assert caplog.text.count("left out and counted") == 1
        else:
            assert missing == 0, "their early answers stand in"
        assert len(final[-1].faces) == 1
        later = run(detector, [(image, 10 + time_s * 6) for image, time_s in clip(12)])  # 5 fps: there is room
        assert {f.context.value for r in later if not r.provisional for f in r.faces} == {"future", "full", "past"}


def test_the_memory_of_a_stream_goes_with_it() -> None:
    with painted_detector() as detector:
        engine = detector.engine
        assert isinstance(engine, OrtStreamEngine)
        opened = [detector.open_stream("none") for _ in range(5)]
        for stream in opened:
            stream.push(paint((100, 110, 60)), 0.0)
        assert engine._opened is not None and len(engine._opened) == 5
        opened[0].close()
        opened[0].close()
        with pytest.raises(AUNetError, match="stream is closed"):
            opened[0].push(paint(), 1.0)
        with pytest.raises(AUNetError, match="stream is closed"):
            opened[0].flush()
        del opened, stream
        gc.collect()
        assert len(engine._opened) == 0
        for _ in range(3):
            detector.detect(paint((100, 110, 60)))
        assert len(engine._opened) == 1, "single pictures share one set"


def test_a_stream_has_its_own_look_ahead_ids_and_times(detector: Detector, reference: list[FrameResult]) -> None:
    with detector.open_stream(look_ahead="none") as causal, detector.open_stream() as full:
        early, results = [], []
        for image, time_s in clip(30):
            early += causal.push(image, 1000 + time_s)
            results += full.push(image, time_s)
        results += full.flush()
        assert causal.flush() == [] and [r.index for r in early] == list(range(30))
        assert same(results, reference)
    with pytest.raises(InvalidInput, match="look_ahead"):
        detector.open_stream(look_ahead="late")  # type: ignore[arg-type]


def test_streams_in_threads_give_what_they_give_alone(detector: Detector, reference: list[FrameResult]) -> None:
    """The rule of docs/api.md: calls wait for each other; each stream belongs to one thread at a time."""
    results: dict[int, list[FrameResult]] = {}
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with detector.open_stream() as stream:
                got = [r for image, time_s in clip(30) for r in stream.push(image, time_s)] + stream.flush()
            results[number] = got
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert len(detector.detect(paint((100, 110, 60))).faces) == 1
    for thread in threads:
        thread.join()
    assert not failed and len(results) == 4
    assert all(same(got, reference) for got in results.values())


def test_close_waits_for_the_frame_that_is_in_work() -> None:
    detector = painted_detector()
    errors: list[BaseException] = []
    begun = threading.Event()

    def work() -> None:
        try:
            for i in range(10_000):
                detector.push(paint((100, 110, 60)), i * PERIOD_S)
                begun.set()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(20)
    detector.close()
    thread.join(20)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [AUNetError] and "closed" in str(errors[0])


@pytest.fixture
def engine() -> Iterator[StreamEngine]:
    with OrtStreamEngine(threads=1, max_faces=1) as made:
        yield made


def test_states_of_others_are_refused(engine: StreamEngine) -> None:
    states = engine.open_states()
    with OrtStreamEngine(threads=1, max_faces=1) as other:
        foreign = other.open_states()
        for wrong in (foreign, object()):
            with pytest.raises(InvalidInput, match="open_states"):
                engine.step(1, states=wrong)  # type: ignore[arg-type]
        slot = engine.step(1, states=states).slots[0]
        assert states.holds(slot, "due") and not foreign.holds(slot, "due")
    states.close()
    assert not states.holds(slot, "due")
    with pytest.raises(InvalidInput, match="open_states"):
        engine.step(1, states=states)
