"""The record beside a table: what made it."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import pytest

from aunet_sdk import __version__
from aunet_sdk.bundle import default_path, sha256_of

from ..command import SHIPPED_AUS, aunet, rows_of, write_video
from ..painted import paint

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def record(path: str = "clip.csv.json") -> dict[str, Any]:
    found = json.loads(Path(path).read_text(encoding="ascii"))
    assert isinstance(found, dict)
    return found


def test_it_says_what_made_the_table(painted: None, tmp_path: Path) -> None:
    """No table said which engine, model or precision made it."""
    write_video(tmp_path / "clip.avi", 8)
    result = aunet("detect", "clip.avi", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 0 and "clip.csv.json" in result.stdout
    found = record()
    assert (found["schema"], found["aunet_sdk"], found["exit_code"], found["problems"]) == (1, __version__, 0, [])
    assert (found["frames"], found["frames_with_face"], found["rows"]) == (8, 8, 8)
    source = {"path": "clip.avi", "kind": "video", "width": 320, "height": 240, "frame_count": 8, "fps": 20.0}
    assert found["source"] == source
    assert found["outputs"] == {"table": "clip.csv", "video": "a.mp4", "plot": "a.png", "video_codec": "libx264"}
    assert found["model"]["sha256"] == sha256_of(default_path()) and found["model"]["name"]
    assert found["model"]["precision"] in ("fp32", "fp16", "int8")
    assert found["engine"]["name"] and found["engine"]["providers"]
    assert found["finder"] == "painted" and found["au_names"] == list(SHIPPED_AUS)
    assert list(found["thresholds"]) == list(SHIPPED_AUS) and all(0 < t < 1 for t in found["thresholds"].values())
    assert found["options"]["look_ahead"] == "full"
    assert datetime.fromisoformat(found["started"]) <= datetime.fromisoformat(found["finished"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.mp4",
        "a.png",
        "clip.avi",
        "clip.csv",
        "clip.csv.json",
    ]


def test_it_says_how_a_run_ended(painted: None, tmp_path: Path) -> None:
    data = write_video(tmp_path / "clip.avi", 40).read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: len(data) // 2])
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 4
    found = record()
    assert found["exit_code"] == 4 and "is broken" in found["problems"][0]
    assert found["rows"] == len(rows_of(tmp_path / "clip.csv"))


def test_a_chosen_set_of_aus(painted: None, tmp_path: Path) -> None:
    cv2.imwrite("clip.png", paint((160, 120, 90)))
    assert aunet("detect", "clip.png", "--au", "12,1", "--quiet").exit_code == 0
    assert record()["au_names"] == ["AU1", "AU12"] and list(record()["thresholds"]) == ["AU1", "AU12"]
    assert record()["source"]["kind"] == "image" and "fps" not in record()["source"]


def test_it_replaces_its_own_kind_alone(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 3)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    table = (tmp_path / "clip.csv").read_bytes()
    for text in ('{"mine": 1}', "[]", "no JSON", "3"):
        (tmp_path / "clip.csv.json").write_text(text)
        result = aunet("detect", "clip.avi", "-o", "clip.csv")
        assert result.exit_code == 2 and "clip.csv.json" in result.stderr and "-o" in result.stderr
        assert (tmp_path / "clip.csv.json").read_text() == text
    assert (tmp_path / "clip.csv").read_bytes() == table


def test_it_is_whole_at_any_time(painted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written beside and moved into its place, through a link too; while the work goes on it has no end."""
    write_video(tmp_path / "clip.avi", 3)
    (tmp_path / "there").mkdir()
    (tmp_path / "clip.csv.json").symlink_to("there/record.json")
    seen: list[dict[str, Any]] = []
    replace = os.replace

    def watched(source: str, target: str | Path) -> None:
        replace(source, target)
        seen.append(record())

    monkeypatch.setattr(os, "replace", watched)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    assert [found["finished"] is None for found in seen] == [True, False]
    assert (seen[0]["exit_code"], seen[1]["exit_code"]) == (None, 0)
    assert (tmp_path / "clip.csv.json").is_symlink()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["record.json"]
    assert (tmp_path / "there" / "record.json").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
