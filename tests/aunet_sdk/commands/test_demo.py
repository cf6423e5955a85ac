"""`aunet demo`: what it says before any work. tests/test_wheel.py runs it to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from aunet_sdk.commands.demo import SAMPLE

from ..command import aunet, rows_of, write_video


def test_outputs_are_those_of_the_main_job(painted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_video(tmp_path / "sample.mp4.avi", 12)
    monkeypatch.setattr("aunet_sdk.commands.demo.SAMPLE", clip)
    monkeypatch.setattr("aunet_sdk.commands.demo.find_spec", lambda name: None)
    out = tmp_path / "a" / "b"
    result = aunet("demo", "-o", out)
    assert result.exit_code == 0, result.output
    assert "no timeline without matplotlib" in result.output
    assert len(rows_of(out / "sample.csv")) == 12
    assert sorted(path.name for path in out.iterdir()) == ["sample.csv", "sample.csv.json", "sample.mp4"]


def test_the_sample_and_its_track_are_in_the_package() -> None:
    assert SAMPLE.is_file() and SAMPLE.with_name("sample_track.csv").is_file()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = aunet("demo", "-o", tmp_path / "file")
    assert result.exit_code == 2 and "cannot make the folder" in result.output
