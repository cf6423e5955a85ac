from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import InvalidInput, SourceLost
from aunet_sdk.sources import Camera, ImageFile, ImageFolder, Source, VideoFile, open_source

from .clips import COUNT, break_pictures, read, read_broken, write


@pytest.mark.parametrize("name, code", [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "MJPG")])
def test_frames_come_in_order_with_the_containers_times(tmp_path: Path, name: str, code: str) -> None:
    with VideoFile(write(tmp_path / name, code)) as video:
        assert isinstance(video, Source)
        assert (video.width, video.height, video.frame_count, video.fps) == (64, 48, COUNT, 20.0)
        for _ in range(2):  # from the beginning each time
            frames = list(video)
            assert [f.index for f in frames] == list(range(COUNT))
            assert np.allclose([f.timestamp_s for f in frames], np.arange(COUNT) / 20, atol=2e-3)
            assert all(f.image.shape == (48, 64, 3) and f.image.dtype == np.uint8 for f in frames)


@pytest.mark.parametrize("name, code", [("a.avi", "MJPG"), ("a.mkv", "MJPG")])
@pytest.mark.parametrize("part", [0.9, 0.5])
def test_a_file_that_is_cut_gives_its_good_frames_first(tmp_path: Path, name: str, code: str, part: float) -> None:
    path = write(tmp_path / name, code)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    frames = read_broken(path, f"is broken: .* of {COUNT} frames were read")
    assert 0.3 * COUNT < len(frames) < COUNT


def test_an_mp4_whose_data_end_early(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mp4v")
    data = path.read_bytes()
    start, size = data.index(b"mdat") - 4, int.from_bytes(data[data.index(b"mdat") - 4 :][:4], "big")
    index = data[start + size :]  # the index moves to the front, its offsets then point too far back by its length
    path.write_bytes(data[:start] + index + data[start : start + size // 2])
    with pytest.raises(SourceLost, match="cut short"):
        list(VideoFile(path))


def test_damage_in_the_middle_is_no_silent_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mp4v")
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)
    assert len(read_broken(path, "is broken")) < COUNT


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", b"", "zero bytes"),
        ("text.mp4", b"this is no video\n" * 100, "no video"),
        ("random.avi", bytes(range(256)) * 40, "no video"),
    ],
)
def test_what_is_no_video_is_refused_at_once(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        VideoFile(tmp_path / name)


def test_bad_files_leave_nothing_on_the_terminal(tmp_path: Path) -> None:
    """In a process of its own: OpenCV asks only once how much FFmpeg may say."""
    cut = write(tmp_path / "a.mp4", "mp4v")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])  # the index at the end is gone
    broken = write(tmp_path / "a.avi", "MJPG")
    broken.write_bytes(broken.read_bytes()[:-20_000])
    (tmp_path / "text.mp4").write_text("no video")
    code = f"""
from aunet_sdk import AUNetError
from aunet_sdk.sources import VideoFile
for name in ("a.mp4", "a.avi", "text.mp4"):
    try:
        list(VideoFile({str(tmp_path)!r} + "/" + name))
    except AUNetError as error:
        print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["InvalidInput", "SourceLost", "InvalidInput"]
    assert done.stderr == ""


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a file"):
        VideoFile(tmp_path)


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceLost, match="camera 97 cannot be opened"):
        Camera(97)
    with pytest.raises(SourceLost, match="camera 97 cannot be opened"):
        open_source(np.int64(97))
    for wrong in (-1, "0", True, 1.0):
        with pytest.raises(InvalidInput, match="expected its number"):
            Camera(wrong)  # type: ignore[arg-type]


def test_the_source_fits_what_was_named(tmp_path: Path) -> None:
    video = write(tmp_path / "a.avi", "MJPG", count=3)
    cv2.imwrite(str(tmp_path / "b.PNG"), np.zeros((4, 4, 3), np.uint8))
    assert isinstance(open_source(video), VideoFile)
    assert isinstance(open_source(str(tmp_path / "b.PNG")), ImageFile)
    assert isinstance(open_source(tmp_path), ImageFolder)
    with pytest.raises(SourceLost):
        open_source(97)


def test_reading_ahead_changes_nothing_but_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "MJPG")
    ahead, plain = list(VideoFile(path, read_ahead=3)), list(VideoFile(path, read_ahead=0))
    assert [f.index for f in ahead] == [f.index for f in plain] == list(range(COUNT))
    assert [f.timestamp_s for f in ahead] == [f.timestamp_s for f in plain]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(ahead, plain, strict=True))
    with pytest.raises(InvalidInput, match="read_ahead"):
        VideoFile(path, read_ahead=-1)


def test_an_iteration_given_up_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    frames = iter(VideoFile(write(tmp_path / "a.avi", "MJPG")))
    assert next(frames).index == 0
    assert threading.active_count() == before + 1
    frames.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
@pytest.mark.parametrize(
    "which, words",
    [
        ((10,), f"is broken: frame 10 could not be decoded; {COUNT - 1} of {COUNT} frames were read"),
        ((0,), f"is broken: frame 0 could not be decoded; {COUNT - 1} of {COUNT} frames were read"),
        ((COUNT - 2,), f"is broken: frame {COUNT - 2} could not be decoded; "),
        ((COUNT - 1,), f"is broken: frame {COUNT - 1} could not be decoded; {COUNT - 1} of "),
        ((3, 4, *range(12, 32)), "is broken: 22 frames could not be decoded, the first of them frame 3; 18 of "),
    ],
)
def test_frames_after_one_that_cannot_be_decoded_still_come(
    tmp_path: Path, name: str, which: tuple[int, ...], words: str
) -> None:
    frames = read_broken(break_pictures(write(tmp_path / name, "MJPG"), *which), words)
    assert [f.index for f in frames] == [i for i in range(COUNT) if i not in which]
    assert np.allclose([f.timestamp_s for f in frames], [f.index / 20 for f in frames], atol=2e-3)


def test_frames_that_cannot_be_decoded_and_a_file_that_is_cut(tmp_path: Path) -> None:
    path = break_pictures(write(tmp_path / "a.avi", "MJPG"), 5)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    words = "is broken: (2 frames could not be decoded, the first of them frame 5|frame 5 could not be decoded)"
    frames = read_broken(path, words + ", and the video ends after frame .* s of 2.000 s: the file is cut short; ")
    assert [f.index for f in frames][:6] == [0, 1, 2, 3, 4, 6]


def slower(path: Path, factor: float = 1.37) -> Path:
    """All times of a Matroska file, and its duration, times `factor`; the nominal frame rate stays."""
    data = path.read_bytes()
    scale = bytes.fromhex("2AD7B183") + (1_000_000).to_bytes(3, "big")
    assert data.count(scale) == 1
    path.write_bytes(data.replace(scale, scale[:4] + round(1_000_000 * factor).to_bytes(3, "big")))
    return path


@pytest.mark.parametrize("name, code", [("a.mkv", "MJPG"), ("a.webm", "VP80")])
def test_fewer_frames_than_the_nominal_rate_promises_are_no_damage(tmp_path: Path, name: str, code: str) -> None:
    video = VideoFile(slower(write(tmp_path / name, code)))
    assert (video.fps, video.frame_count) == (20.0, round(1.37 * COUNT))
    times = [frame.timestamp_s for frame in video]
    assert times == pytest.approx(np.arange(COUNT) * 1.37 / 20, abs=2e-3)


@pytest.mark.parametrize("name, code", [("a.mkv", "mp4v"), ("a.webm", "VP80")])
@pytest.mark.parametrize("rate", ["constant", "slower"])
def test_a_matroska_file_whose_clusters_are_damaged(tmp_path: Path, name: str, code: str, rate: str) -> None:
    """The decoder is not asked for what lies there, and the times reach to the end."""
    path = write(tmp_path / name, code, container={"cluster_time_limit": "300"})
    if rate == "slower":
        slower(path)
    data = bytearray(path.read_bytes())
    start, size = int(0.4 * len(data)), len(data) // 8
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    frames, error = read(path)
    assert re.search(r"damaged at byte \d+|could not be decoded", str(error)), error
    assert 0.5 * COUNT < len(frames) < COUNT


def test_a_matroska_recording_that_was_broken_off(tmp_path: Path) -> None:
    """Its size was never written, as where the recorder was killed."""
    path = write(tmp_path / "a.mkv", "MJPG")
    data = path.read_bytes()
    at = data.index(bytes.fromhex("18538067")) + 4
    assert data[at] == 0x01
    unsized = data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :]
    path.write_bytes(unsized)
    path.write_bytes(unsized[: len(data) // 2])
    with pytest.raises(SourceLost, match="cut short"):
        list(VideoFile(path))


@pytest.mark.parametrize("tail", [b"a line of text behind the video\n", b"\xff" * 64])
def test_bytes_behind_an_mp4_are_no_damage(tmp_path: Path, tail: bytes) -> None:
    path = write(tmp_path / "a.mp4", "mp4v")
    path.write_bytes(path.read_bytes() + tail)
    assert len(list(VideoFile(path))) == COUNT


def test_an_avi_whose_size_was_never_written_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "MJPG")
    data = bytearray(path.read_bytes())
    data[4:8] = (0x7FFFFFFF).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(list(VideoFile(path))) == COUNT


def test_a_video_that_may_not_be_read_says_so(unreadable: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: Permission denied"):
        VideoFile(unreadable)
