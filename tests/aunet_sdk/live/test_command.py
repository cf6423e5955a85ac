"""`aunet live` as a process and in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ..command import aunet, rows_of, write_video
from ..painted import painted_detector

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

PAINTED_MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import aunet_sdk.live.service as service
from tests.aunet_sdk.painted import painted_detector
service.Detector = lambda options: painted_detector(look_ahead=options.look_ahead)
from aunet_sdk.cli import main
sys.argv[0] = "aunet"
main()
"""


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aunet_sdk.live.service.Detector", lambda options: painted_detector(look_ahead=options.look_ahead)
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def frames_of(path: Path) -> list[dict[str, Any]]:
    return [line for line in lines_of(path) if line["type"] == "frame"]


@pytest.mark.usefixtures("painted")
def test_a_file_to_several_sinks(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 20)
    done = aunet("live", "clip.avi", "--sink", "jsonl:a.jsonl", "--sink", "csv:a.csv", "--quiet")
    assert done.exit_code == 0, done.output
    frames = frames_of(tmp_path / "a.jsonl")
    assert [f["frame"] for f in frames] == list(range(20)) and frames[0]["source"] == "clip.avi"
    assert [int(row["frame"]) for row in rows_of(tmp_path / "a.csv")] == list(range(20))


@pytest.mark.usefixtures("painted")
def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 5)
    write_video(tmp_path / "other.avi", 7)
    (tmp_path / "a.toml").write_text(
        "[detector]\nlook_ahead = 'both'\n"
        "[[source]]\nuri = 'clip.avi'\n[[source]]\nuri = 'other.avi'\nname = 'the other'\n"
        "[[sink]]\nuri = 'jsonl:{source}.jsonl'\n[[sink]]\nuri = 'jsonl:all.jsonl'\n"
    )
    assert aunet("live", "--config", "a.toml", "--quiet", "--look-ahead", "none").exit_code == 0
    assert len(frames_of(tmp_path / "clip.avi.jsonl")) == 5 and len(frames_of(tmp_path / "the_other.jsonl")) == 7
    every = frames_of(tmp_path / "all.jsonl")
    assert sorted(f["source"] for f in every) == ["clip.avi"] * 5 + ["the other"] * 7
    assert not any(f["provisional"] for f in every)
    assert aunet("live", "other.avi", "--config", "a.toml", "--quiet").exit_code == 0
    assert len(frames_of(tmp_path / "all.jsonl")) == 14


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected a source"),
        (["none.mp4"], "none.mp4"),
        (["clip.avi", "--sink", "smoke:signals"], "smoke:signals"),
        (["clip.avi", "--sink", "jsonl:a", "--sink", "jsonl:a"], "jsonl:a twice"),
        (["clip.avi", "--duration", "0"], "--duration"),
        (["clip.avi", "--config", "none.toml"], "none.toml"),
        (["clip.avi", "--look-ahead", "back"], "look_ahead"),
    ],
)
@pytest.mark.usefixtures("painted")
def test_what_cannot_be_used_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    write_video(tmp_path / "clip.avi", 2)
    done = aunet("live", *arguments)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.output


def wait_for(condition: Any, child: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end_s or child.poll() is not None:
            child.kill()
            raise AssertionError(child.communicate())
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_a_signal_ends_it_with_everything_that_is_due(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 400)
    command = [sys.executable, "-c", PAINTED_MAIN, "live", "clip.avi", "--realtime", "--sink", "jsonl:a.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        wait_for(lambda: len(frames_of_partial(tmp_path / "a.jsonl")) > 3, child)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 143 and "Traceback" not in err, err
    frames = frames_of(tmp_path / "a.jsonl")
    assert [f["frame"] for f in frames] == list(range(len(frames))) and len(frames) < 400
    assert lines_of(tmp_path / "a.jsonl")[-1]["state"] == "closed"


def frames_of_partial(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if '"frame"' in line] if path.exists() else []


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_sighup_reads_the_configuration_again(tmp_path: Path, repository: Path) -> None:
    """Thresholds, sinks and sources change; a file that cannot be read changes nothing."""
    write_video(tmp_path / "clip.avi", 400)
    write_video(tmp_path / "short.avi", 5)
    config = tmp_path / "live.toml"
    begin = "[live]\nrealtime = true\n[[source]]\nuri = 'clip.avi'\n[[sink]]\nuri = 'jsonl:{}.jsonl'\n"
    config.write_text(begin.format("a"))
    command = [sys.executable, "-c", PAINTED_MAIN, "live", "--config", "live.toml"]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    said = tmp_path / "said.txt"
    with said.open("w") as stderr, subprocess.Popen(command, env=environment, stderr=stderr, text=True) as child:
        wait_for(lambda: len(frames_of_partial(tmp_path / "a.jsonl")) > 3, child)
        config.write_text("[thresholds]\nAU12 = 7\n")
        child.send_signal(signal.SIGHUP)
        wait_for(lambda: "stays as it was" in said.read_text(), child)
        config.write_text("[thresholds]\nAU12 = 0.0\n" + begin.format("b") + "[[source]]\nuri = 'short.avi'\n")
        child.send_signal(signal.SIGHUP)
        wait_for(lambda: any("short.avi" in line for line in frames_of_partial(tmp_path / "b.jsonl")), child)
        wait_for(lambda: any('"clip.avi"' in line for line in frames_of_partial(tmp_path / "b.jsonl")), child)
        child.send_signal(signal.SIGINT)
        child.wait(60)
    err = said.read_text()
    assert child.returncode == 130 and "Traceback" not in err, err
    assert "AU12" in err
    before, after = frames_of(tmp_path / "a.jsonl"), frames_of(tmp_path / "b.jsonl")
    of_clip = [f["frame"] for f in before] + [f["frame"] for f in after if "clip" in f["source"]]
    assert of_clip == sorted(of_clip) and len([f for f in after if "short" in f["source"]]) == 5
    assert after[-1]["faces"][0]["aus"]["AU12"]["active"] and before[0]["faces"][0]["aus"]["AU12"]["probability"] < 1
