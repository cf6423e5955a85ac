from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aunet_sdk._util.files import check_writable
from aunet_sdk.errors import InvalidInput


def test_a_file_that_is_not_there_is_not_there_afterwards(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.mp4", "video")
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"kept")
    check_writable(tmp_path / "a.mp4", "video")
    assert (tmp_path / "a.mp4").read_bytes() == b"kept"


def test_a_dangling_link_stays(tmp_path: Path) -> None:
    """It was removed, and the file that it leads to was left behind."""
    (tmp_path / "there").mkdir()
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "b.mp4").symlink_to("there/c.mp4")
    check_writable(tmp_path / "a.mp4", "video")
    assert os.readlink(tmp_path / "a.mp4") == "b.mp4" and os.readlink(tmp_path / "b.mp4") == "there/c.mp4"
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("target", ["missing/a.mp4", "a.mp4", "."])
def test_a_link_that_leads_nowhere_is_refused_and_stays(tmp_path: Path, target: str) -> None:
    (tmp_path / "a.mp4").symlink_to(target)
    with pytest.raises(InvalidInput, match="cannot write"):
        check_writable(tmp_path / "a.mp4", "video")
    assert os.readlink(tmp_path / "a.mp4") == target


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in the file system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    check_writable(tmp_path / "a.mp4", "video")
    assert (tmp_path / "a.mp4").is_fifo()
