"""A source that was lost and came back: no result has neighbours on both sides of the gap."""

from __future__ import annotations

import numpy as np
import pytest

from aunet_sdk import Detector, Frame, FrameResult
from aunet_sdk.pipeline.session import Session
from aunet_sdk.stream import Stream

from .painted import painted_detector
from .streams import clip, probabilities, run

COUNT = 24


def push(stream: Stream, frames: list[tuple[np.ndarray, float]], segment: int, first: int) -> list[FrameResult]:
    return [
        result
        for i, (image, time_s) in enumerate(frames)
        for result in stream.push_frame(Frame(image, time_s, first + i, segment=segment))
    ]


def parts(detector: Detector) -> tuple[list[tuple[np.ndarray, float]], list[tuple[np.ndarray, float]]]:
    """Two halves that follow each other without a pause: by their times alone they would be neighbours."""
    frames = clip(2 * COUNT)
    return frames[:COUNT], frames[COUNT:]


@pytest.mark.parametrize("look_ahead", ["full", "both"])
def test_each_segment_is_answered_as_if_it_were_alone(look_ahead: str) -> None:
    with painted_detector(look_ahead=look_ahead, max_faces=1) as detector:
        one, two = parts(detector)
        alone = [run(detector, one), run(detector, two)]
        stream = detector.open_stream()
        got = push(stream, one, 0, 0)
        first = stream.push_frame(Frame(*two[0], COUNT, segment=1))
        got += [r for r in first if r.index < COUNT]
        rest = [r for r in first if r.index >= COUNT] + push(stream, two[1:], 1, COUNT + 1) + stream.flush()
    assert np.array_equal(probabilities(got), probabilities(alone[0]))
    assert np.array_equal(probabilities(rest), probabilities(alone[1]))
    assert [r.index for r in got] == [r.index for r in alone[0]]
    assert [r.index for r in rest] == [r.index + COUNT for r in alone[1]]
    assert {f.id for r in got for f in r.faces} == {1} and {f.id for r in rest for f in r.faces} == {2}, "ids go on"
    contexts = [f.context.value for r in rest if not r.provisional for f in r.faces]
    assert contexts[0] in ("future", "none") and [f.context for r in alone[1] for f in r.faces] == [
        f.context for r in rest for f in r.faces
    ]


def test_what_waited_is_not_lost_where_the_first_frame_after_the_gap_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with painted_detector(max_faces=1) as detector:
        one, two = parts(detector)
        stream = detector.open_stream()
        got = push(stream, one, 0, 0)
        assert len(got) < COUNT

        def fail(*_: object) -> list[FrameResult]:
            raise OSError("engine gone")

        with monkeypatch.context() as patch:
            patch.setattr(Session, "push", fail)
            with pytest.raises(OSError, match="engine gone"):
                stream.push_frame(Frame(*two[0], COUNT, segment=1))
        got += stream.flush()
    assert [r.index for r in got] == list(range(COUNT))


def test_a_new_stream_after_a_flush_begins_with_any_segment() -> None:
    with painted_detector(max_faces=1) as detector:
        stream = detector.open_stream()
        results = push(stream, clip(3), 7, 0) + stream.flush()
        results += push(stream, clip(3), 2, 0) + stream.flush()
    assert [r.index for r in results] == [0, 1, 2] * 2 and {f.id for r in results for f in r.faces} == {1}
