"""Videos that are cut short, by a frame or by half; whole ones of every container and rate are never called broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Frame, VideoFile
from aunet_sdk.sources.container import Container, inspect

from .clips import COUNT, break_pictures, cut, read_broken, write

WHOLE = [
    ("a.avi", "MJPG"),
    ("a.avi", "mp4v"),
    ("a.avi", "mpg1"),
    ("a.mp4", "mp4v"),
    ("a.mp4", "mpg2"),
    ("a.mov", "MJPG"),
    ("a.mkv", "mp4v"),
    ("a.webm", "VP80"),
    ("a.flv", "FLV1"),
    ("a.wmv", "WMV2"),
    ("a.ts", "mp4v"),
    ("a.ts", "mpg1"),
    ("a.ts", "mpg2"),
    ("a.mpg", "mpg1"),
    ("a.mpg", "mp4v"),
]


@pytest.mark.parametrize("fps, count", [(5.0, 1), (23.976, 2), (12.5, COUNT), (29.97, 7), (59.94, 97)])
@pytest.mark.parametrize("name, code", WHOLE)
def test_a_whole_file_is_never_called_broken(tmp_path: Path, name: str, code: str, fps: float, count: int) -> None:
    assert len(list(VideoFile(write(tmp_path / name, code, count, fps)))) == count


@pytest.mark.parametrize("name, code", [("a.flv", "FLV1"), ("a.wmv", "WMV2"), ("a.mkv", "mp4v"), ("a.avi", "mp4v")])
@pytest.mark.parametrize("missing", [1, 30, 3000, 30000])
def test_a_cut_is_told_where_it_costs_a_frame(tmp_path: Path, name: str, code: str, missing: int) -> None:
    """Less than a frame, a frame or so, and a few; what lies behind the last frame costs none."""
    path = write(tmp_path / name, code)
    cut(path, path.stat().st_size - missing)
    assert inspect(path).missing_bytes > 0
    frames, error = read(path)
    assert error is not None or len(frames) == COUNT
    if missing > 3000:
        assert len(frames) < COUNT
    if len(frames) < COUNT:
        words = rf"cut short after frame {len(frames) - 1}, by \d+ bytes; {len(frames)} (of \d+ )?frames were read"
        assert re.search(words, str(error)), error


def read(path: Path) -> tuple[list[Frame], SourceLost | None]:
    """The frames of a file, and the error at its end."""
    frames = []
    try:
        for frame in VideoFile(path):
            frames.append(frame)
    except SourceLost as error:
        return frames, error
    return frames, None


def flv_tags(path: Path) -> list[int]:
    """Where the tags of an FLV file begin, and its end."""
    data = path.read_bytes()
    starts = [13]
    while starts[-1] < len(data):
        starts.append(starts[-1] + 15 + int.from_bytes(data[starts[-1] + 1 : starts[-1] + 4], "big"))
    return starts


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_an_flv_cut_between_two_frames_is_too_short_for_its_duration(tmp_path: Path, lost: int) -> None:
    """Its size was never written: what is left of it is whole."""
    path = write(tmp_path / "a.flv", "FLV1")
    data = path.read_bytes()
    starts = flv_tags(path)
    videos = [start for start in starts[:-1] if data[start] == 9]
    end = videos[COUNT - lost]
    path.write_bytes(data[:end].replace(b"\0\x08filesize\0", b"\0\x08filesiZe\0"))
    found = inspect(path)
    assert (found.missing_bytes, found.video_s) == (0, found.duration_s)
    frames = read_broken(path, rf"the video ends after frame {COUNT - lost - 1}, at .* s of 2.000 s")
    assert len(frames) == COUNT - lost
    with_sound = bytearray(path.read_bytes())
    with_sound[4] |= 4  # sound may be longer than the pictures
    path.write_bytes(with_sound)
    assert inspect(path).video_s is None and len(list(VideoFile(path))) == COUNT - lost


def test_an_flv_with_damage_between_its_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flv", "FLV1")
    data = bytearray(path.read_bytes())
    start = flv_tags(path)[20]
    data[start : start + 400] = bytes(400)
    path.write_bytes(data)
    assert inspect(path).damaged_at == start
    read_broken(path, f"the file is damaged at byte {start}")


def test_what_an_flv_and_an_asf_file_declare(tmp_path: Path) -> None:
    flv = inspect(write(tmp_path / "a.flv", "FLV1"))
    assert flv == Container(0, pytest.approx(2.0, abs=0.06), None, flv.duration_s)
    asf = write(tmp_path / "a.wmv", "WMV2")
    assert inspect(asf) == Container()
    data = bytearray(asf.read_bytes())
    at = data.index(bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")) + 88
    cut(asf, len(data) // 2)
    assert inspect(asf).missing_bytes == len(data) - len(data) // 2
    data[at] |= 1  # a broadcast: the size means nothing
    asf.write_bytes(data[: len(data) // 2])
    assert inspect(asf) == Container()


@pytest.mark.parametrize("name, code", [("a.mp4", "mp4v"), ("a.mov", "MJPG")])
def test_an_mp4_declares_the_time_of_its_pictures(tmp_path: Path, name: str, code: str) -> None:
    path = write(tmp_path / name, code)
    found = inspect(path)
    assert found.counted and found.video_s == pytest.approx(2.0, abs=1e-3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 20
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") * 3 // 4).to_bytes(4, "big")
    path.write_bytes(data)
    assert inspect(path).video_s is None  # edits hide a quarter


def test_the_last_frames_of_an_mp4_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = break_pictures(write(tmp_path / "a.mov", "MJPG"), COUNT - 2, COUNT - 1)
    frames = read_broken(path, f"the video ends after frame {COUNT - 3}, at .* s of 2.000 s; {COUNT - 2} of {COUNT} ")
    assert len(frames) == COUNT - 2


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_a_cut_that_cannot_be_seen(tmp_path: Path, name: str) -> None:
    """docs/exit-codes.md says so: these formats declare neither a size nor a length."""
    path = write(tmp_path / name, "mpg1")
    cut(path, path.stat().st_size // 2)
    assert inspect(path) == Container()
    frames, error = read(path)
    assert error is None and 0.3 * COUNT < len(frames) < COUNT


def test_frames_that_vanish_from_the_middle_of_a_transport_stream(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", "mpg1", 120)
    data = path.read_bytes()
    packets = len(data) // 188
    path.write_bytes(data[: packets // 3 * 188] + data[packets // 2 * 188 :])
    frames, error = read(path)
    assert len(frames) < 115 and error is not None
