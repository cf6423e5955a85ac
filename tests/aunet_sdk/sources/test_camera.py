"""Camera over a fake cv2.VideoCapture: there is no camera where the tests run."""

from __future__ import annotations

import itertools
import threading
import time
from typing import ClassVar

import cv2
import numpy as np
import pytest

from aunet_sdk import InvalidInput, SourceLost
from aunet_sdk.sources import Camera, Frame, Source, SourceOptions, SourceState

EVERY = SourceOptions(policy="all", retry_first_s=0.01, retry_most_s=0.02)


class FakeCapture:
    """Gives `frames` pictures, the number in every pixel, and then fails as a camera does that was pulled out. It also
    fails at the reads in `hiccups`, and is found out when two threads are inside it at the same time."""

    frames = 5
    hiccups: ClassVar[set[int]] = set()
    absent: ClassVar[set[int]] = set()
    """which openings fail, the first is 1"""
    made: ClassVar[list[FakeCapture]] = []
    grab_s = retrieve_s = 0.0

    def __init__(self, number: int | str) -> None:
        self.number, self.grabbed, self.reads, self.released = number, 0, 0, False
        self.settings: dict[int, float] = {}
        self.inside = threading.Lock()
        self.raced = False
        self.made.append(self)

    def isOpened(self) -> bool:
        return len(self.made) not in self.absent

    def set(self, what: int, value: float) -> bool:
        self.settings[what] = value
        return True

    def get(self, what: int) -> float:
        return 25.0 if what == cv2.CAP_PROP_FPS else 0.0

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


def some(camera: Camera, count: int) -> list[Frame]:
    """The first frames."""
    return list(itertools.islice(camera, count))


def test_a_camera_that_was_pulled_out_comes_back(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """It stopped for good."""
    monkeypatch.setattr(fake, "absent", {2, 3, 4})
    before_s = time.monotonic()
    states: list[str] = []

    def listen(state: SourceState, reason: str | None) -> None:
        states.append(f"{state}: {reason}" if reason else str(state))

    with Camera(2, EVERY, listen) as camera:
        assert isinstance(camera, Source) and camera.frame_count is None
        frames = some(camera, 10)
        assert camera.state is SourceState.RUNNING and not camera.dropped
    assert [(frame.index, frame.segment) for frame in frames] == [(i, i // 5) for i in range(10)]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [*range(5)] * 2
    times = [before_s, *(frame.timestamp_s for frame in frames), time.monotonic()]
    assert times == sorted(times) and len(set(times)) == 12
    assert states == [
        "running",
        "lost: stopped to deliver: 21 reads failed in a row; is it still connected?",
        "reconnecting: stopped to deliver: 21 reads failed in a row; is it still connected?",
        "reconnecting: cannot be opened; is it connected, free and permitted?",
        "running",
        "closed",
    ]
    assert [capture.number for capture in fake.made] == [2] * 5
    assert all(capture.released for capture in fake.made if capture is not fake.made[4]) and fake.made[4].released


def test_the_newest_frame_wins(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "frames", 10**6)
    monkeypatch.setattr(fake, "grab_s", 0.001)
    with Camera(0) as camera:
        frames = iter(camera)
        first = next(frames)
        time.sleep(0.1)
        second = next(frames)
        assert second.index > first.index + 3 and int(second.image[0, 0, 0]) == second.index % 256
        dropped = dict(camera.dropped)
        assert dropped["superseded"] >= second.index - first.index - 1 and set(dropped) == {"superseded"}
        assert camera.fps is not None and camera.fps > 25


def test_what_the_options_ask_of_the_camera(fake: type[FakeCapture]) -> None:
    options = SourceOptions(width=3, height=480, fps=15, rotation=90, policy="all")
    with Camera("/dev/v4l/by-id/usb-cam", options) as camera:
        (frame,) = some(camera, 1)
    (capture,) = fake.made
    assert capture.number == "/dev/v4l/by-id/usb-cam"
    assert capture.settings == {
        cv2.CAP_PROP_BUFFERSIZE: 1,
        cv2.CAP_PROP_FRAME_WIDTH: 480,
        cv2.CAP_PROP_FRAME_HEIGHT: 3,
        cv2.CAP_PROP_FPS: 15,
    }
    assert frame.image.shape == (4, 3, 3), "6 x 4 turned, and scaled down to 3 wide"


def test_a_camera_that_is_not_there(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "absent", {1, 2, 3})
    with pytest.raises(SourceLost, match="camera 0 cannot be opened; is it connected"):
        Camera(0)
    assert len(fake.made) == 1 and fake.made[0].released
    with Camera(0, SourceOptions(wait=True, retry_first_s=0.01)) as camera:
        assert camera.state is SourceState.OPENING
        (frame,) = some(camera, 1)
        assert frame.segment == 0 and len(fake.made) == 4


@pytest.mark.parametrize("index", [-1, True, 1.5, "0", "video0", None])
def test_what_is_no_camera(index: object) -> None:
    with pytest.raises(InvalidInput, match="camera: expected its number"):
        Camera(index)  # type: ignore[arg-type]


def test_a_frame_has_the_time_when_it_was_grabbed(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """To decode a picture of 4K takes 30 ms, which made every frame that much younger."""
    monkeypatch.setattr(fake, "retrieve_s", 0.05)
    with Camera(0) as camera:
        frame = next(iter(camera))
        assert 0.05 <= time.monotonic() - frame.timestamp_s < 5


def test_a_read_that_fails_is_tried_again(fake: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """One failed read ended the stream for good."""
    monkeypatch.setattr(fake, "hiccups", {1, 3, *range(5, 25)})
    with Camera(0, EVERY) as camera:
        frames = some(camera, 5)
    assert [(frame.index, frame.segment) for frame in frames] == [(i, 0) for i in range(5)]
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
    assert list(frames) == [] and list(camera) == [] and fake.made[0].released
    assert camera.state is SourceState.CLOSED
