"""Camera over a fake cv2.VideoCapture: there is no camera where the tests run."""

from __future__ import annotations

import time
from typing import ClassVar

import cv2
import numpy as np
import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Camera, Source


class FakeCapture:
    """Gives `frames` pictures, the number in every pixel, and then fails as a camera does that was pulled out."""

    frames = 5
    made: ClassVar[list[FakeCapture]] = []

    def __init__(self, number: int) -> None:
        self.number, self.read_count, self.released = number, 0, False
        self.settings: dict[int, float] = {}
        self.made.append(self)

    def isOpened(self) -> bool:
        return True

    def set(self, what: int, value: float) -> bool:
        self.settings[what] = value
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.read_count == self.frames:
            return False, None
        self.read_count += 1
        return True, np.full((4, 6, 3), self.read_count - 1, np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "made", [])
    return FakeCapture


def test_frames_come_until_the_camera_is_gone(fake: type[FakeCapture]) -> None:
    before_s = time.monotonic()
    frames = []
    with Camera(2) as camera:
        assert isinstance(camera, Source) and camera.frame_count is None
        (capture,) = fake.made
        assert (capture.number, capture.settings) == (2, {cv2.CAP_PROP_BUFFERSIZE: 1})
        with pytest.raises(SourceLost, match="camera 2 stopped to deliver after 5 frames"):
            for frame in camera:
                frames.append(frame)
        assert not capture.released
    assert capture.released
    assert [frame.index for frame in frames] == list(range(5))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(5))
    times = [before_s, *(frame.timestamp_s for frame in frames), time.monotonic()]
    assert times == sorted(times)


def test_a_frame_has_the_time_when_it_was_fetched(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 11.25])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    frames = iter(Camera(0))
    assert [next(frames).timestamp_s for _ in range(3)] == [10.0, 10.5, 11.25]


def test_a_closed_camera_ends(fake: type[FakeCapture]) -> None:
    camera = Camera(0)
    frames = iter(camera)
    next(frames)
    camera.close()
    camera.close()
    assert list(frames) == [] and fake.made[0].released
