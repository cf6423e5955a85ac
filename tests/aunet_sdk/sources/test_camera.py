"""Camera over a fake cv2.VideoCapture: there is no camera where the tests run."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import cv2
import numpy as np
import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Camera, Source


class FakeCapture:
    """Gives `frames` pictures, the number in every pixel, and then fails as a camera does that was pulled out. It also
    fails at the reads in `hiccups`, and is found out when two threads are inside it at the same time."""

    frames = 5
    hiccups: ClassVar[set[int]] = set()
    made: ClassVar[list[FakeCapture]] = []
    grab_s = retrieve_s = 0.0

    def __init__(self, number: int) -> None:
        self.number, self.grabbed, self.reads, self.released = number, 0, 0, False
        self.settings: dict[int, float] = {}
        self.inside = threading.Lock()
        self.raced = False
        self.made.append(self)

    def isOpened(self) -> bool:
        return True

    def set(self, what: int, value: float) -> bool:
        self.settings[what] = value
        return True

    def grab(self) -> bool:
        self.reads += 1
        return self._alone(self.grab_s) and self.reads not in self.hiccups and self.grabbed < self.frames

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        self._alone(self.retrieve_s)
        self.grabbed += 1
        return True, np.full((4, 6, 3), self.grabbed - 1, np.uint8)

    def release(self) -> None:
        self._alone(0)
        self.released = True

    def _alone(self, seconds: float) -> bool:
        self.raced |= not self.inside.acquire(blocking=False) or self.released
        time.sleep(seconds)
        if self.inside.locked():
            self.inside.release()
        return True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "made", [])
    monkeypatch.setattr("aunet_sdk.sources.camera.RETRY_PAUSE_S", 0.001)
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


def test_a_frame_has_the_time_when_it_was_grabbed(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """To decode a picture of 4K takes 30 ms, which made every frame that much younger."""
    monkeypatch.setattr(fake, "retrieve_s", 0.05)
    frame = next(iter(Camera(0)))
    assert 0.05 <= time.monotonic() - frame.timestamp_s < 5


def test_a_read_that_fails_is_tried_again(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """One failed read ended the stream for good."""
    monkeypatch.setattr(fake, "hiccups", {1, 3, *range(5, 25)})
    frames = []
    with pytest.raises(SourceLost, match="after 5 frames: 21 reads failed in a row"):
        for frame in Camera(0):
            frames.append(frame)
    assert [frame.index for frame in frames] == list(range(5))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(5))


def test_close_beside_a_read_waits_for_it(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture was released while another thread was inside it, which is a crash in OpenCV."""
    monkeypatch.setattr(fake, "frames", 10**6)
    monkeypatch.setattr(fake, "grab_s", 0.002)
    for _ in range(20):
        camera = Camera(0)
        seen: list[int] = []
        thread = threading.Thread(target=lambda camera=camera, seen=seen: seen.extend(f.index for f in camera))
        thread.start()
        time.sleep(0.005)
        camera.close()
        thread.join(5)
        assert not thread.is_alive() and fake.made[-1].released and not fake.made[-1].raced


def test_a_closed_camera_ends(fake: type[FakeCapture]) -> None:
    camera = Camera(0)
    frames = iter(camera)
    next(frames)
    camera.close()
    camera.close()
    assert list(frames) == [] and fake.made[0].released
