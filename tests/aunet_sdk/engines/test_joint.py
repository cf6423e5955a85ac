"""Steps of several streams in one batch: the same numbers, fewer runs, and nobody waits for who is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, FrameResult
from aunet_sdk.stream import Stream

from ..painted import painted_detector
from ..streams import clip, probabilities


def together(*acts: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()


def pusher(stream: Stream, into: list[FrameResult], barrier: threading.Barrier | None = None) -> Callable[[], None]:
    def act() -> None:
        for image, time_s in clip(30):
            if barrier is not None:
                barrier.wait(60)
            into.extend(stream.push(image, time_s))
        into.extend(stream.flush())

    return act


def told(results: list[FrameResult]) -> list[Any]:
    return [(r.index, r.provisional, [(f.id, f.context) for f in r.faces]) for r in results]


@pytest.mark.parametrize("look_ahead", ["full", "both"])
def test_three_streams_have_the_numbers_of_one(detector: Detector, look_ahead: Any) -> None:
    with detector.open_stream(look_ahead) as alone:
        expected: list[FrameResult] = []
        pusher(alone, expected)()
    streams = [detector.open_stream(look_ahead, joint=True) for _ in range(3)]
    found: list[list[FrameResult]] = [[], [], []]
    barrier = threading.Barrier(3)
    together(*(pusher(stream, into, barrier) for stream, into in zip(streams, found, strict=True)))
    for results in found:
        assert told(results) == told(expected)
        assert np.abs(probabilities(results) - probabilities(expected)).max() < 1e-4
    for stream in streams:
        stream.close()


def test_frames_that_come_together_share_a_run() -> None:
    with painted_detector(max_faces=4) as detector:
        streams = [detector.open_stream(joint=True) for _ in range(3)]
        barrier = threading.Barrier(3)
        together(*(pusher(stream, [], barrier) for stream in streams))
        joint = detector._joint
        assert joint is not None and joint.steps >= 90
        assert joint.batches < joint.steps  # how much is saved is a matter of the scheduler
        assert detector.engine.max_faces == 4


def test_a_step_that_fails_costs_those_in_it_one_frame_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with painted_detector() as detector:
        streams = [detector.open_stream("none", joint=True) for _ in range(2)]
        step = detector.engine.step
        fails = threading.Event()

        def brittle(*arguments: Any, **options: Any) -> Any:
            if fails.is_set():
                raise AUNetError("stumbled")
            return step(*arguments, **options)

        monkeypatch.setattr(detector.engine, "step", brittle)
        frames, errors = clip(6), []

        def act(stream: Stream) -> None:
            for image, time_s in frames[:3]:
                stream.push(image, time_s)
            both.wait(60)
            try:
                stream.push(*frames[3])
            except AUNetError as error:
                errors.append(str(error))
            both.wait(60)

        both = threading.Barrier(2, action=lambda: fails.clear() if fails.is_set() else fails.set())
        together(*(lambda s=s: act(s) for s in streams))  # type: ignore[misc]
        assert errors == ["stumbled"] * 2
        for stream in streams:  # one alone is not waited for, and the frame may come again
            assert stream.push(*frames[3])[0].faces[0].context == "none"
            assert len(stream.push(*frames[4])) == 1


def test_joint_and_other_streams_beside_each_other(detector: Detector, reference: list[FrameResult]) -> None:
    found: list[list[FrameResult]] = [[], []]
    streams = [detector.open_stream(joint=True), detector.open_stream()]
    together(*(pusher(stream, into) for stream, into in zip(streams, found, strict=True)))
    for results in found:
        assert np.abs(probabilities(results) - probabilities(reference)).max() < 1e-4
