from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import InvalidInput, SourceLost
from aunet_sdk.sources import Camera, ImageFile, ImageFolder, Source, VideoFile, open_source
from aunet_sdk.sources.container import inspect

COUNT = 40


def write(path: Path, code: str, count: int = COUNT, fps: float = 20.0) -> Path:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (64, 48))
    for i in range(count):
        writer.write(np.roll(noise, i, 1))
    writer.release()
    return path


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
    frames = []
    with pytest.raises(SourceLost, match=f"broke at frame .* of {COUNT}"):
        for frame in VideoFile(path):
            frames.append(frame)
    assert 0.4 * COUNT < len(frames) < COUNT


def test_an_mp4_whose_data_end_early(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mp4v")
    data = path.read_bytes()
    start, size = data.index(b"mdat") - 4, int.from_bytes(data[data.index(b"mdat") - 4 :][:4], "big")
    index = data[start + size :]  # the index moves to the front, its offsets then point too far back by its length
    path.write_bytes(data[:start] + index + data[start : start + size // 2])
    assert inspect(path).missing_bytes == size - size // 2
    with pytest.raises(SourceLost, match="cut short"):
        list(VideoFile(path))


def test_the_container_is_read_as_it_is(tmp_path: Path) -> None:
    whole = inspect(write(tmp_path / "a.mp4", "mp4v"))
    assert whole.missing_bytes == 0 and whole.duration_s == pytest.approx(COUNT / 20, abs=0.06)
    assert inspect(write(tmp_path / "a.avi", "MJPG")).missing_bytes == 0
    (tmp_path / "short").write_bytes(b"RIF")
    assert inspect(tmp_path / "short") == inspect(write(tmp_path / "a.mkv", "MJPG"))
    (tmp_path / "loop").write_bytes(b"\0\0\0\x04ftyp" + b"\0" * 20)  # a box that claims to be smaller than its head
    assert inspect(tmp_path / "loop").missing_bytes == 0


def test_damage_in_the_middle_is_no_silent_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mp4v")
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)
    frames = []
    with pytest.raises(SourceLost, match="broke at frame"):
        for frame in VideoFile(path):
            frames.append(frame)
    assert len(frames) < COUNT


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


def test_times_that_do_not_grow_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(write(tmp_path / "a.avi", "MJPG", count=6))
    real = video._capture
    times = iter([0.0, 50.0, 50.0, 40.0, 200.0, float("nan")])

    class Shuffled:
        def get(self, what: int) -> float:
            return next(times) if what == cv2.CAP_PROP_POS_MSEC else real.get(what)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    video._capture = Shuffled()
    assert [f.timestamp_s for f in video] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25])


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceLost, match="camera 97 cannot be opened"):
        Camera(97)
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
