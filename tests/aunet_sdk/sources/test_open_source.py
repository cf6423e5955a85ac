"""What open_source makes of a number, a path, or what is neither."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import InvalidInput
from aunet_sdk.sources import ImageFile, ImageFolder, PacedSource, SourceOptions, VideoFile, open_source, uri
from aunet_sdk.sources.network import with_quoted_user

from .clips import write


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the cameras that were opened; there is none in truth."""
    opened: list[int] = []
    monkeypatch.setattr(uri, "Camera", lambda index, options, on_state: opened.append(index) or "camera")
    return opened


def test_a_camera_has_a_number_a_string_or_a_device(
    cameras: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (3, "3", Path("3"), "/dev/video3", Path("/dev/video3")):
        open_source(name)
    assert cameras == [3] * 5


def test_a_file_named_by_a_number_is_a_file(
    cameras: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    cv2.imwrite(str(tmp_path / "0" / "a.png"), np.zeros((4, 4, 3), np.uint8))
    assert isinstance(open_source("0"), ImageFolder) and cameras == []
    for other in ("-1", "0x1", "video0", "/dev/video", "²"):
        with pytest.raises(InvalidInput, match="does not exist"):
            open_source(other)


@pytest.mark.parametrize(
    "url, expected",
    [
        ("ftp://me:secret@host/a.mp4", "one of rtsp://, .*got ftp://"),
        ("s3://bucket/a.mp4", "one of rtsp://"),
        ("rtsp://", "expected a host after rtsp://"),
        ("http:///a.mp4", "expected a host after http"),
        ("csi://front", "such as csi://0"),
        ("csi://", "such as csi://0"),
        ("gst:", "expected gst: and a pipeline"),
        ("v4l2:///dev/no-such-camera", "/dev/no-such-camera does not exist"),
        ("v4l2://front", "front does not exist"),
        ("/dev/no-such-camera", "does not exist"),
        ("file:///no/such/a.mp4", "/no/such/a.mp4 does not exist"),
    ],
)
def test_what_cannot_be_a_source_is_refused_with_what_to_do(url: str, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected) as caught:
        open_source(url)
    assert "secret" not in str(caught.value)


def test_cameras_by_scheme(cameras: list[int]) -> None:
    for name in ("v4l2://3", "v4l2:///dev/video3", Path("v4l2://3"), "V4L2://3"):
        open_source(name)
    assert cameras == [3] * 4


def test_a_file_url_is_its_path(tmp_path: Path) -> None:
    path = write(tmp_path / "a b.mp4", "H264", 3)
    for url in (f"file://{tmp_path}/a%20b.mp4", f"file://localhost{tmp_path}/a%20b.mp4", path):
        source = open_source(url)
        assert isinstance(source, VideoFile) and source.path == path
        source.close()


def test_options_that_change_nothing_leave_a_file_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "H264", 3)
    assert isinstance(open_source(path, SourceOptions(policy="all", wait=True)), VideoFile)
    with open_source(path, SourceOptions(width=32, rotation=90, mirror=True)) as source:
        assert isinstance(source, PacedSource) and source.frame_count == 3
        assert [frame.image.shape for frame in source] == [(43, 32, 3)] * 3


@pytest.mark.parametrize(
    "given, expected",
    [
        ("rtsp://me:sec/ret@host:5/a", "rtsp://me:sec%2Fret@host:5/a"),
        ("rtsp://me:p@ss@host/a", "rtsp://me:p%40ss@host/a"),
        ("rtsp://me:a:b#c@host", "rtsp://me:a%3Ab%23c@host"),
        ("rtsp://me:%2Fx@host/a", "rtsp://me:%2Fx@host/a"),
        ("rtsp://host:554/a@b", "rtsp://host:554/a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("rtsp://host/a?x=1@2", "rtsp://host/a?x=1@2"),
    ],
)
def test_a_password_may_be_written_raw(given: str, expected: str) -> None:
    assert with_quoted_user(given) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0}, {"height": 1.5}, {"fps": 0}, {"fps": "25"}, {"rotation": 45}, {"mirror": 1}, {"wait": "yes"},
        {"policy": "newest"}, {"read_timeout_s": 0}, {"retry_most_s": float("inf")}, {"open_timeout_s": None},
    ],
)  # fmt: skip
def test_wrong_options_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=f"^{next(iter(wrong))}: expected"):
        SourceOptions(**wrong)  # type: ignore[arg-type]


def test_a_path_with_a_colon_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take:").mkdir()
    cv2.imwrite("take:/a.png", np.zeros((4, 4, 3), np.uint8))
    assert isinstance(open_source("take:/a.png"), ImageFile)
    with pytest.raises(InvalidInput, match="does not exist"):
        open_source("C:/a.mp4")


def test_the_pictures_of_a_folder_are_25_a_second(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((16, 16, 3), np.uint8))
    folder = open_source(tmp_path)
    assert isinstance(folder, ImageFolder)
    assert [frame.timestamp_s for frame in folder] == [0.0, 0.04, 0.08]
    folder = open_source(tmp_path, SourceOptions(fps=10, mirror=True))
    assert isinstance(folder, PacedSource)
    assert [frame.timestamp_s for frame in folder] == [0.0, 0.1, 0.2] and not folder.dropped
