from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.sinks import ImageSink, VideoSink


def picture(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), (level, 40, 200), np.uint8)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.MOV", "a.webm"])
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    with VideoSink(tmp_path / name, 20.0) as sink:
        for level in (0, 80, 160, 240):
            sink.write(picture(level))
        assert sink.frames == 4
    capture = cv2.VideoCapture(str(tmp_path / name))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(20, abs=0.1)
    levels = []
    while (read := capture.read())[0]:
        assert read[1].shape == (48, 64, 3)
        levels.append(float(read[1][..., 0].mean()))
    capture.release()
    assert levels == pytest.approx([0, 80, 160, 240], abs=15)


def test_frames_need_no_particular_strides(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.avi", 20.0, (64, 48)) as sink:
        sink.write(np.full((96, 128, 3), 7, np.uint8)[::2, ::2])
        with pytest.raises(InvalidInput, match="48, 64, 3"):
            sink.write(picture(0, 50, 64))
        with pytest.raises(InvalidInput, match="float32"):
            sink.write(picture(0).astype(np.float32))


@pytest.mark.parametrize("name", ["a.txt", "a", "missing/a.mp4"])
def test_paths_that_cannot_be_used_are_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        VideoSink(tmp_path / name, 20.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_frame_rates_are_checked(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InvalidInput, match="frame rate"):
        VideoSink(tmp_path / "a.mp4", fps)


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "a.mp4", 20.0).close()
    assert list(tmp_path.iterdir()) == []


def test_one_image(tmp_path: Path) -> None:
    with ImageSink(tmp_path / "a.png") as sink:
        sink.write(picture(9))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), picture(9))
    with pytest.raises(InvalidInput, match=r"\.png"):
        ImageSink(tmp_path / "a.gif")


def test_a_folder_of_images_keeps_their_names(tmp_path: Path) -> None:
    with ImageSink(tmp_path / "out", folder=True) as sink:
        sink.write(picture(9), "x.jpg")
        sink.write(picture(9), "y.ppm")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x.jpg", "y.ppm.png"]
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match="folder"):
        ImageSink(tmp_path / "taken", folder=True)


def levels_of(path: Path) -> list[float]:
    capture = cv2.VideoCapture(str(path))
    levels = []
    while (read := capture.read())[0]:
        levels.append(float(read[1][..., 0].mean()))
    capture.release()
    return levels


@pytest.mark.parametrize(
    "times_s, expected",
    [
        ([0.0, 0.05, 0.1, 0.15], [0, 60, 120, 180]),
        ([0.0, 0.051, 0.099, 0.149], [0, 60, 120, 180]),
        ([0.0, 0.2, 0.25, 0.4], [0, 0, 0, 0, 60, 120, 120, 120, 180]),  # repeated
        ([0.0, 0.01, 0.02, 0.05], [0, 180]),  # left out
        ([0.0, 0.01, 0.1, 0.15], [0, 60, 120, 180]),  # the latest is held
        ([0.1, 0.15, 0.2, 0.25], [0, 0, 0, 60, 120, 180]),  # the first comes late
        ([1e6, 1e6 + 0.05, 2e6, 2e6 + 0.1], [0, 60, 120, 120, 180]),  # a clock that jumps
    ],
)
def test_pictures_are_shown_at_their_times(tmp_path: Path, times_s: list[float], expected: list[float]) -> None:
    image = picture(0)
    with VideoSink(tmp_path / "a.avi", 20.0) as sink:
        for i, time_s in enumerate(times_s):
            image[:] = picture(60 * i)  # one array for all of them
            sink.write(image, time_s)
        assert sink.frames == len(expected)
        with pytest.raises(InvalidInput, match="finite time"):
            sink.write(image, float("nan"))
    assert levels_of(tmp_path / "a.avi") == pytest.approx(expected, abs=15)


def test_a_closed_sink_takes_no_more(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.avi", 20.0)
    sink.write(picture(9))
    sink.close()
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.write(picture(9))
    assert len(levels_of(tmp_path / "a.avi")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of a file")
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov", "a.webm"])
def test_a_full_disk_is_told(tmp_path: Path, name: str) -> None:
    """In a process of its own, whose files may not grow beyond 60 kB."""
    code = f"""
import resource
import numpy as np
from aunet_sdk import AUNetError
from aunet_sdk.sinks import VideoSink
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
def write(sink):
    for i in range(60):
        sink.write(np.roll(noise, i, 1))
try:
    with VideoSink({str(tmp_path / name)!r}, 20.0) as sink:
        write(sink)
except AUNetError as error:
    print(error)
try:
    with VideoSink({str(tmp_path / name)!r}, 20.0) as sink:
        write(sink)
        raise KeyError("of the block")
except KeyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "expected 60 frames" in first and name in first and "disk full" in first
    assert second == "'of the block'"


@pytest.mark.parametrize("fps", [20.0, 29.97, 12.5])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.webm"])
def test_a_whole_file_is_not_doubted(tmp_path: Path, name: str, fps: float) -> None:
    for count in (1, 2, 50):
        with VideoSink(tmp_path / name, fps) as sink:
            for i in range(count):
                sink.write(picture(i))
        assert len(levels_of(tmp_path / name)) == count


def test_a_folder_without_images_goes_again(tmp_path: Path) -> None:
    ImageSink(tmp_path / "new" / "deep", folder=True).close()
    (tmp_path / "there").mkdir()
    ImageSink(tmp_path / "there", folder=True).close()
    with ImageSink(tmp_path / "used", folder=True) as sink:
        sink.write(picture(9), "x.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "used"]
