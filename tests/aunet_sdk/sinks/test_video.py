from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk.errors import InvalidInput
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
