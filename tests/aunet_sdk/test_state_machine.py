"""Any mix of frames, flushes, faults and two streams in turns: the good frames have the results that they have alone.

Faults are injected at every step of a frame: the source's picture or time, the finder, the crop, the engine's step and
its questions, the reading of its answers, the making of results. Some pass after one call, others last for frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aunet_sdk import AUNetError, Detector, FrameResult, InvalidInput
from aunet_sdk.bundle import Bundle
from aunet_sdk.engines.cpu.ort import OrtStreamEngine
from aunet_sdk.faces.finders.base import FoundFace
from aunet_sdk.pipeline import crop_inference, session
from aunet_sdk.pipeline.emission import Emission

from .painted import PaintedFinder, PaintedNetwork, paint, painted_detector

PARTS = ("finder", "crop", "step", "query", "points", "pose", "result")
PERIOD_S = 0.1
"""10 frames a second: neighbours are four frames away, so that short runs have every context"""


class Broken(AUNetError):
    """What an injected fault raises."""


class Faults:
    """Which part fails, after how many more calls, and how often."""

    def __init__(self) -> None:
        self.part = ""
        self.after = self.times = 0

    def check(self, part: str) -> None:
        if part == self.part and self.times:
            if self.after:
                self.after -= 1
            else:
                self.times -= 1
                raise Broken(part)


FAULTS = Faults()


class Finder(PaintedFinder):
    def find(self, image: np.ndarray, longer_side_px: int = 320) -> list[FoundFace]:
        FAULTS.check("finder")
        return super().find(image, longer_side_px)


class Engine(OrtStreamEngine):
    def _execute(self, n_new: int, *arguments: Any) -> None:
        FAULTS.check("step" if n_new else "query")
        super()._execute(n_new, *arguments)


class Network(PaintedNetwork):
    def _decode(self, *arguments: Any) -> Any:
        FAULTS.check("points")
        return super()._decode(*arguments)


@contextmanager
def breakable() -> Iterator[None]:
    """Functions that belong to no part that could be handed in fail too."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name, part in (
            (crop_inference.alignment, "warp_crop", "crop"),
            (session, "head_pose", "pose"),
            (Emission, "_face", "result"),
        ):
            real = getattr(place, name)

            def checked(*arguments: Any, _real: Any = real, _part: str = part, **named: Any) -> Any:
                FAULTS.check(_part)
                return _real(*arguments, **named)

            patch.setattr(place, name, checked)
        yield


def made(look_ahead: str) -> Detector:
    bundle = Bundle.load("nano")
    return painted_detector(
        finder=Finder(),
        engine_of=lambda *_: Engine(bundle, threads=1, max_faces=2, fps=10),
        network_of=Network,
        look_ahead=look_ahead,
        max_faces=2,
        detect_interval_s=0.3,
        model="nano",
    )


def told(results: list[FrameResult]) -> list[tuple]:
    return [
        (r.index, r.timestamp_s, r.provisional, [(f.id, str(f.context), f.provisional) for f in r.faces])
        for r in results
    ]


class Streams(RuleBasedStateMachine):
    """Two streams of one detector, beside what a fresh detector says about their good frames."""

    @initialize(look_ahead=st.sampled_from(["full", "none", "both"]))
    def begin(self, look_ahead: str) -> None:
        FAULTS.times = 0
        self.detector, self.fresh = DETECTORS[look_ahead]
        self.streams = [self.detector.open_stream() for _ in range(2)]
        self.good: list[list[tuple[np.ndarray, float]]] = [[], []]
        self.results: list[list[FrameResult]] = [[], []]
        self.clock_s = [0.0, 100.0]

    def picture(self, which: int, look: int) -> np.ndarray:
        """A face that drifts; sometimes it jumps, has company, or is away."""
        at = (100 + 2 * len(self.good[which]), 110, 60)
        if look == 0:
            return paint(background=which)
        if look == 1:
            return paint((at[0] + 14, 110, 60), background=len(self.good[which]))
        if look == 2:
            return paint(at, (260, 180, 40), background=len(self.good[which]))
        return paint(at, background=len(self.good[which]))

    @rule(which=st.integers(0, 1), look=st.integers(0, 7), skip=st.sampled_from([1, 1, 1, 1, 2, 6]))
    def push(self, which: int, look: int, skip: int) -> None:
        self.clock_s[which] += skip * PERIOD_S
        image, time_s = self.picture(which, look), self.clock_s[which]
        try:
            ready = self.streams[which].push(image, time_s)
        except Broken:
            return
        self.good[which].append((image, time_s))
        self.results[which] += ready

    @rule(part=st.sampled_from(PARTS), after=st.integers(0, 3), times=st.sampled_from([1, 2, 1000]))
    def fail(self, part: str, after: int, times: int) -> None:
        FAULTS.part, FAULTS.after, FAULTS.times = part, after, times

    @rule()
    def mend(self) -> None:
        FAULTS.times = 0

    @rule(which=st.integers(0, 1), kind=st.sampled_from(["image", "none", "time", "again"]))
    def refuse(self, which: int, kind: str) -> None:
        """The source hands over something wrong."""
        image: Any = {"image": np.zeros((4, 4, 2), np.uint8), "none": None}.get(kind, paint((100, 110, 60)))
        time_s = {"time": float("nan"), "again": self.clock_s[which]}.get(kind, self.clock_s[which] + 1)
        if kind == "again" and not (self.good[which] and self.good[which][-1][1] == time_s):
            return
        with pytest.raises(InvalidInput):
            self.streams[which].push(image, time_s)

    @rule(which=st.integers(0, 1))
    def flush(self, which: int) -> None:
        try:
            self.results[which] += self.streams[which].flush()
        except Broken:
            return
        self.compare(which)

    @precondition(lambda self: len(self.good[0]) % 5 == 4)
    @rule()
    def picture_alone(self) -> None:
        """A single picture between the frames."""
        try:
            found = self.detector.detect(paint((100, 100, 60)))
        except Broken:
            return
        assert [face.id for face in found.faces] == [1]

    @invariant()
    def is_bounded(self) -> None:
        for stream in getattr(self, "streams", []):
            assert stream.session.kept <= 2 * 97 + 1 and stream.faces_unanswered == 0

    def compare(self, which: int) -> None:
        """What came, beside the same frames pushed to a detector that knows no faults."""
        times, FAULTS.times = FAULTS.times, 0
        stream = self.fresh.open_stream()
        expected = [r for image, time_s in self.good[which] for r in stream.push(image, time_s)] + stream.flush()
        stream.close()
        FAULTS.times = times
        got = self.results[which]
        assert told(got) == told(expected)
        for one, other in zip(got, expected, strict=True):
            for face, twin in zip(one.faces, other.faces, strict=True):
                assert np.allclose(face.probabilities, twin.probabilities, atol=2e-5)
                assert np.array_equal(face.box, twin.box) and face.score == twin.score
        self.good[which], self.results[which] = [], []

    def teardown(self) -> None:
        FAULTS.times = 0
        if hasattr(self, "streams"):
            for which in range(2):
                self.flush(which)
                self.streams[which].close()


DETECTORS: dict[str, tuple[Detector, Detector]] = {}


def test_any_mix_of_frames_flushes_faults_and_streams() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    with breakable():
        for look_ahead in ("full", "none", "both"):
            DETECTORS[look_ahead] = made(look_ahead), made(look_ahead)
        try:
            run_state_machine_as_test(
                Streams,
                settings=settings(
                    max_examples=200,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                ),
            )
        finally:
            FAULTS.times = 0
            for pair in DETECTORS.values():
                for detector in pair:
                    detector.close()
            DETECTORS.clear()
