"""`aunet detect` on what is broken or cannot be written: one line that says so, and what was computed is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ..command import aunet, rows_of, write_video
from ..painted import paint

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def test_a_truncated_video_keeps_its_rows(painted: None, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.avi", 40).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    result = aunet("detect", "cut.avi", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 4
    rows = rows_of(tmp_path / "cut.csv")
    assert 5 < len(rows) < 35
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    assert f"the video ends after frame {len(rows) - 1}" in " ".join(result.stdout.split())
    assert f"{len(rows)} rows are kept in cut.csv" in result.stderr
    assert (tmp_path / "a.mp4").exists() and (tmp_path / "a.png").exists()


def bad_inputs(folder: Path) -> None:
    """Files that are not what their names say."""
    (folder / "text.mp4").write_text("This is no video.\n" * 50)
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.jpg").write_text("This is no picture.")
    (folder / "nothing").mkdir()
    with_index_at_the_end = cv2.VideoWriter("whole.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (64, 48))
    for _ in range(20):
        with_index_at_the_end.write(np.zeros((48, 64, 3), np.uint8))
    with_index_at_the_end.release()
    data = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    write_video(folder / "clip.avi", 2)
    cv2.imwrite("picture.png", np.zeros((20, 20, 3), np.uint8))
    cv2.imwrite("one.png", np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4"], "does not exist"),
        (["text.mp4"], "no video"),
        (["empty.mp4"], "empty"),
        (["cut.mp4"], "cut.mp4 is no video"),
        (["empty.png"], "empty"),
        (["text.jpg"], "no picture"),
        (["one.png"], "one.png is too small to hold a face"),
        (["nothing"], "no picture"),
        (["clip.avi", "-o", "a.txt"], "end"),
        (["clip.avi", "-o", "missing/a.csv"], "cannot write"),
        (["clip.avi", "--video", "clip.avi"], "is the input"),
        (["clip.avi", "--video", "a.gif"], "ends in"),
        (["clip.avi", "--plot", "a.bmp"], "ends in"),
        (["clip.avi", "--truth", "a.csv"], "--plot"),
        (["clip.avi", "--video", "a.png", "--plot", "a.png"], "twice"),
        (["picture.png", "--plot", "a.png"], "expected a video"),
        (["clip.avi", "--au", "AU1,x"], "Action Unit"),
        (["clip.avi", "--au", "5"], "AU5"),
        (["clip.avi", "--threads", "0"], "threads"),
        (["clip.avi", "--model", "missing.onnx"], "missing.onnx"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    bad_inputs(tmp_path)
    before = (tmp_path / "clip.avi").read_bytes()
    result = aunet("detect", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("aunet: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert (tmp_path / "clip.avi").read_bytes() == before
    assert not list(tmp_path.glob("*.csv")) or arguments[:1] == ["clip.avi"]


PAINTED_MAIN = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell would have it ignored
import aunet_sdk.commands.detect as detect
from tests.aunet_sdk.painted import painted_detector
detect.Detector = lambda options: painted_detector()
from aunet_sdk.cli import main
sys.argv[0] = "aunet"
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child process")
def test_ctrl_c_keeps_the_rows(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 1500)
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PAINTED_MAIN, "detect", "clip.avi", "-o", "a.csv"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and child.poll() is None:
            if Path("a.csv").exists() and len(Path("a.csv").read_text().splitlines()) > 5:
                break
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    rows = rows_of(tmp_path / "a.csv")
    assert 5 <= len(rows) < 1500 and None not in rows[-1].values()
    assert "interrupted" in err and f"{len(rows)} rows are kept" in err and "Traceback" not in err
    assert "frames with a face" in out


@pytest.mark.parametrize("option, value", [("--video", "a.gif"), ("--video", "no/a.mp4"), ("--plot", "no/a.png")])
def test_an_output_that_cannot_be_used_costs_no_table(painted: None, tmp_path: Path, option: str, value: str) -> None:
    write_video(tmp_path / "clip.avi", 5)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    before = (tmp_path / "clip.csv").read_bytes()
    assert before.count(b"\n") == 6
    result = aunet("detect", "clip.avi", option, value)
    assert result.exit_code == 2, result.output
    assert (tmp_path / "clip.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi", "clip.csv", "clip.csv.json"]


def test_a_table_that_cannot_be_written_leaves_no_folder(painted: None, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite("set/a.png", paint((160, 120, 90)))
    assert aunet("detect", "set", "-o", "no/a.csv", "--video", "drawn").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_frames_that_cannot_be_decoded_are_told_and_the_others_kept(painted: None, tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "clip.avi", 40).read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    for index in (20, 21):
        data[starts[index] : starts[index] + 300] = bytes(300)
    (tmp_path / "clip.avi").write_bytes(data)
    result = aunet("detect", "clip.avi", "--video", "a.avi")
    assert result.exit_code == 4
    assert "2 frames could not be decoded, the first of them frame 20; 38 of 40 frames were read" in result.stderr
    rows = rows_of(tmp_path / "clip.csv")
    assert [int(row["frame"]) for row in rows] == [*range(20), *range(22, 40)]
    assert float(rows[-1]["timestamp_s"]) == pytest.approx(39 / 20, abs=0.002)
    assert "a.avi (38 frames)" in result.stdout  # the picture before stands for the two


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of a file")
def test_an_annotated_video_that_the_disk_does_not_hold(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 60)
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n" + PAINTED_MAIN
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, "detect", "clip.avi", "--video", "a.avi"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1 and "a.avi: File too large" in done.stderr and "60 rows are kept" in done.stderr
    assert len(rows_of(tmp_path / "clip.csv")) == 60
    assert "written  a.avi" not in done.stdout


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode here")
def test_names_that_are_not_utf8(painted: None, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_video(tmp_path / "clip.avi", 2)
    (tmp_path / "clip.avi").rename(tmp_path / f"{name}.avi")
    result = aunet("detect", f"{name}.avi", "--video", f"o-{name}.mp4", "--plot", f"o-{name}.png")
    assert result.exit_code == 0, result.output
    names = {os.fsencode(path.name) for path in tmp_path.iterdir()}
    assert names == {b"caf\xe9.avi", b"caf\xe9.csv", b"caf\xe9.csv.json", b"o-caf\xe9.mp4", b"o-caf\xe9.png"}
    (tmp_path / "set").mkdir()
    cv2.imwrite("one.png", paint((160, 120, 90)))
    (tmp_path / "one.png").rename(tmp_path / "set" / f"{name}.png")
    result = aunet("detect", "set")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "set.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.png,0,")
