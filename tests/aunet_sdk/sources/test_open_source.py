"""What open_source makes of a number, a path, or what is neither."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import InvalidInput, sources
from aunet_sdk.sources import ImageFile, ImageFolder, open_source


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the cameras that were opened; there is none in truth."""
    opened: list[int] = []
    monkeypatch.setattr(sources, "Camera", lambda index: opened.append(index))
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


@pytest.mark.parametrize("url", ["rtsp://cam/1", Path("rtsp://cam/1"), "HTTP://host/a.mp4", "file:///a.mp4"])
def test_urls_are_refused_with_what_to_do(url: str | Path) -> None:
    with pytest.raises(InvalidInput, match=r"URLs are not supported yet.*push"):
        open_source(url)


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
