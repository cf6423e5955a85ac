"""What an archive consists of, from whatever names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import BackendUnavailable, InvalidInput
from aunet_sdk.jobs.items import Item, expand, key_of

pytest.importorskip("fsspec")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in ("b/10.mp4", "b/2.mp4", "a.MOV", "notes.txt", "b/c/d.mkv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def _names(items: list[Item], root: Path) -> list[str]:
    return [Path(item.uri.removeprefix("file://")).relative_to(root).as_posix() for item in items]


def test_folders_patterns_and_files_each_file_once(archive: Path) -> None:
    assert _names(expand([str(archive)]), archive) == ["a.MOV", "b/2.mp4", "b/10.mp4", "b/c/d.mkv"]
    assert _names(expand([f"{archive}/b/*.mp4"]), archive) == ["b/2.mp4", "b/10.mp4"]
    both = expand([f"{archive}/b/10.mp4", str(archive / "b"), f"{archive}/**/*.mp4", str(archive / "notes.txt")])
    assert _names(both, archive) == ["b/10.mp4", "b/2.mp4", "b/c/d.mkv", "notes.txt"]
    assert both[0].size == len("b/10.mp4") and both[0].stamp


def test_a_list_names_them_line_by_line(archive: Path) -> None:
    table = archive / "list.txt"
    table.write_text(f"# talks\n\n{archive}/b/2.mp4\n  {archive}/b/c  \n", encoding="utf-8")
    assert _names(expand([f"@{table}"]), archive) == ["b/2.mp4", "b/c/d.mkv"]
    table.write_text(f"@{table}\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="another list"):
        expand([f"@{table}"])
    with pytest.raises(InvalidInput, match="cannot be read"):
        expand([f"@{archive}/absent.txt"])


def test_addresses_go_through_fsspec(archive: Path) -> None:
    assert _names(expand([f"file://{archive}/b"]), archive) == ["b/2.mp4", "b/10.mp4", "b/c/d.mkv"]
    assert _names(expand([f"file://{archive}/b/*.mp4"]), archive) == ["b/2.mp4", "b/10.mp4"]
    (one,) = expand([f"file://{archive}/a.MOV"])
    assert one.size == 5 and one.stamp
    with pytest.raises((InvalidInput, BackendUnavailable), match=r"nosuch://\*\*\*@host"):
        expand(["nosuch://me:secret@host/a.mp4"])


def test_what_gives_no_file_is_an_error_and_a_missing_file_is_an_item(archive: Path) -> None:
    for argument in (f"{archive}/*.avi", f"file://{archive}/*.avi"):
        with pytest.raises(InvalidInput, match="has no video"):
            expand([argument])
    (archive / "empty").mkdir()
    with pytest.raises(InvalidInput, match="has no video"):
        expand([str(archive / "empty")])
    (missing,) = expand([str(archive / "gone.mp4")])
    assert missing.size is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_are_safe_in_a_path_and_differ(name: str, other: str) -> None:
    key = key_of(f"/archive/{name}")
    assert re.fullmatch(r"[\w.-]+-[0-9a-f]{8}", key, re.ASCII) and len(key) < 120
    assert (key == key_of(f"/archive/{other}")) == (name == other)
