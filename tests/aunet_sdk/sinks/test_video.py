from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.sinks import VideoSink

from ..scripted import frame


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


NAMES = ["a.mp4", "a.m4v", "a.mov", "a.mkv", "a.webm", "a.avi"]


def shown(path: Path) -> list[tuple[float, float]]:
    """Time in s and mean level of the first channel of every picture in a file, as FFmpeg reads them."""
    return list(read(path))


def read(path: Path) -> Iterator[tuple[float, float]]:
    with av.open(str(path)) as container:
        for image in container.decode(video=0):
            yield float(image.time), float(image.to_ndarray(format="bgr24")[..., 0].mean())


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_there_once_at_its_time(tmp_path: Path, name: str) -> None:
    """A file of constant rate held a picture by copies of it, and lost those that came closer than a frame."""
    times_s = [0.0, 0.2, 0.25, 0.4, 1.95] if name == "a.avi" else [0.0, 0.2, 0.21, 0.4, 1.933]
    image = picture(0)
    with VideoSink(tmp_path / name, 20.0) as sink:
        for i, time_s in enumerate(times_s):
            image[:] = picture(50 * i)  # one array for all of them
            sink.write(image, time_s)
        assert sink.frames == 5 and sink.left_out == 0
        with pytest.raises(InvalidInput, match="finite time"):
            sink.write(image, float("nan"))
    found = shown(tmp_path / name)
    assert [time_s for time_s, _ in found] == pytest.approx(times_s, abs=0.001)
    assert [level for _, level in found] == pytest.approx([0, 50, 100, 150, 200], abs=15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("times_s", "expected_s"),
    [
        ([-0.6, -0.4, 0.0, 0.2], [0.0, 0.2, 0.6, 0.8]),  # they were left out
        ([0.1, 0.15, 0.2], [0.0, 0.15, 0.2]),  # the first one stands from the beginning on
        ([1e6, 1e6 + 0.05, 2e6, 2e6 + 0.1], [0.0, 0.05, 0.1, 0.2]),  # a clock that jumps
        ([1.0, 1.05, 0.0, 0.1], [0.0, 1.05, 1.1, 1.2]),  # and one that is set back
        ([0.0, None, 0.5, None], [0.0, 0.05, 0.5, 0.55]),
    ],
)
def test_clocks_of_all_kinds_lose_no_picture(
    tmp_path: Path, name: str, times_s: list[float | None], expected_s: list[float]
) -> None:
    with VideoSink(tmp_path / name, 20.0) as sink:
        for i, time_s in enumerate(times_s):
            sink.write(picture(60 * i), time_s)
    found = shown(tmp_path / name)
    assert [time_s for time_s, _ in found] == pytest.approx(expected_s, abs=0.001)
    assert [level for _, level in found] == pytest.approx([60 * i for i in range(len(times_s))], abs=15)


@pytest.mark.parametrize("name", NAMES)
def test_a_declared_rate_of_1000_fps_repeats_nothing(tmp_path: Path, name: str) -> None:
    """Where a file declared 1000 fps for its 30, every picture was written 33 times."""
    with VideoSink(tmp_path / name, 1000.0) as sink:
        for i in range(30):
            sink.write(picture(8 * i), i / 30)
        assert sink.frames == 30
    found = shown(tmp_path / name)
    assert [time_s for time_s, _ in found] == pytest.approx([i / 30 for i in range(30)], abs=0.0011)
    assert (tmp_path / name).stat().st_size < 60_000


def test_avi_has_one_rate_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.avi", 20.0) as sink:
        for i, time_s in enumerate([0.0, 0.01, 0.02, 0.05]):
            sink.write(picture(60 * i), time_s)
        assert (sink.frames, sink.left_out) == (2, 2)
    assert [level for _, level in shown(tmp_path / "a.avi")] == pytest.approx([0, 180], abs=15)


@settings(max_examples=40)
@given(
    times_s=st.lists(st.floats(-1e9, 1e9) | st.floats(-1, 1) | st.none(), min_size=1, max_size=12),
    fps=st.sampled_from([0.01, 1.0, 23.976, 30.0, 1000.0, 90_000.0]),
    name=st.sampled_from(NAMES[:5]),
)
def test_any_times_give_a_file_with_every_picture_in_order(times_s: list[float | None], fps: float, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with VideoSink(Path(folder) / name, fps) as sink:
            for time_s in times_s:
                sink.write(picture(7, 16, 16), time_s)
        found = [time_s for time_s, _ in shown(Path(folder) / name)]
    assert len(found) == len(times_s) and found[0] == pytest.approx(0, abs=0.001)
    assert all(a < b for a, b in pairwise(found))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(63, 47), (2, 2), (17, 2)])
def test_odd_sizes_become_even(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    """Browsers play yuv420p alone, which has even sides."""
    width, height = size
    with VideoSink(tmp_path / name, 20.0, size) as sink:
        sink.write(picture(80, height, width))
        sink.write(picture(160, height, width))
    with av.open(str(tmp_path / name)) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height) == (width + width % 2, height + height % 2)
        assert context.pix_fmt == ("yuvj420p" if name == "a.avi" else "yuv420p")
    assert len(shown(tmp_path / name)) == 2


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.webm", "vp9"), ("a.avi", "mjpeg")])
def test_the_codec_is_one_that_players_know(tmp_path: Path, name: str, codec: str) -> None:
    with VideoSink(tmp_path / name, 20.0) as sink:
        sink.write(picture(9))
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].codec_context.name == codec


def test_without_an_encoder_for_h264_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264", "libopenh264"})
    with VideoSink(tmp_path / "a.mp4", 20.0) as sink:
        sink.write(picture(80))
        sink.write(picture(160), 0.5)
    assert sink.codec == "mpeg4"
    assert shown(tmp_path / "a.mp4") == [(0.0, pytest.approx(80, abs=15)), (0.5, pytest.approx(160, abs=15))]


def test_a_closed_sink_takes_no_more(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.avi", 20.0)
    sink.write(picture(9))
    sink.close()
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.write(picture(9))
    assert len(shown(tmp_path / "a.avi")) == 1


def test_a_provisional_result_has_no_picture(tmp_path: Path) -> None:
    early = frame(0)
    object.__setattr__(early, "provisional", True)
    with VideoSink(tmp_path / "a.mp4", 20.0) as sink:
        sink.put(early, picture(9))
        sink.put(frame(0), picture(9))
        sink.put(frame(1))
    assert sink.frames == 1


@pytest.mark.parametrize("name", ["o-12:30.mp4", "o,x.mp4", "concat:a|b.mkv", "pipe:.avi", "%03d.webm", "o'#?.mp4"])
def test_names_that_ffmpeg_would_take_for_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`--video o-12:30.mp4` given relative was refused."""
    monkeypatch.chdir(tmp_path)
    with VideoSink(name, 20.0) as sink:
        sink.write(picture(9))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    monkeypatch.chdir("/")
    assert len(shown(tmp_path / name)) == 1


HEAD = """
import os, resource, sys, time
import numpy as np
from aunet_sdk import OutputLost
from aunet_sdk.sinks import VideoSink
noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
path = sys.argv[1]
"""
FULL = """
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
for fail in (False, True):
    try:
        with VideoSink(path, 20.0) as sink:
            for i in range(400):
                try:
                    sink.write(np.roll(noise, i, 1))
                except OutputLost as error:
                    print(i, error)
                    break
            if fail:
                raise KeyError("of the block")
    except KeyError as error:
        print(error)
"""
KILLED = """
sink = VideoSink(path, 20.0)
for i in range(100):
    sink.write(np.roll(noise, i, 1))
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of a file")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_and_what_was_written_can_be_read(tmp_path: Path, name: str) -> None:
    """In a process of its own, whose files may not grow beyond 500 kB. OpenCV wrote dozens of lines to stderr, and said
    nothing to the caller."""
    command = [sys.executable, "-c", HEAD + FULL, tmp_path / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    first, second, third = done.stdout.splitlines()
    for line in (first, second):
        assert name in line and "cannot write" in line and "File too large" in line
    assert third == "'of the block'"
    written = int(first.split()[0])
    found = []
    with suppress(av.error.InvalidDataError):  # the last one may be cut in its middle
        for time_s, _ in read(tmp_path / name):
            found.append(time_s)
    assert written - 25 <= len(found) <= written + 1
    assert found == pytest.approx([i / 20 for i in range(len(found))], abs=0.001)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_device_names_the_file(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(AUNetError, match=name), VideoSink(tmp_path / name, 20.0) as sink:
        for _ in range(3):
            sink.write(picture(9))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_leaves_a_file_that_can_be_read(tmp_path: Path, name: str) -> None:
    """An MP4 had no index then. All but the last second is there."""
    command = [sys.executable, "-c", HEAD + KILLED, tmp_path / name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
    found = shown(tmp_path / name)
    assert 79 <= len(found) <= 100
    assert [time_s for time_s, _ in found] == pytest.approx([i / 20 for i in range(len(found))], abs=0.001)


@pytest.mark.parametrize("fps", [20.0, 29.97, 12.5, 30000 / 1001, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_rate_is_kept(tmp_path: Path, name: str, fps: float) -> None:
    for count in (1, 2, 50):
        with VideoSink(tmp_path / name, fps) as sink:
            for i in range(count):
                sink.write(picture(i))
        times_s = [time_s for time_s, _ in shown(tmp_path / name)]
        assert times_s == pytest.approx([i / fps for i in range(count)], abs=0.001)
