"""How `aunet` ends from outside: signals, a full disk, a reader of stdout that has gone, a folder that was removed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import pytest

from ..command import aunet, rows_of, write_video
from ..painted import paint
from .test_detect_faults import PAINTED_MAIN

pytestmark = [
    pytest.mark.usefixtures("in_a_folder_of_its_own"),
    pytest.mark.skipif(sys.platform == "win32", reason="no signals and no /dev"),
]
full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")


def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}


def painted_command(*arguments: str, before: str = "") -> list[str]:
    return [sys.executable, "-c", before + PAINTED_MAIN, *arguments]


def wait_for_rows(child: subprocess.Popen[str], table: Path, count: int = 5) -> None:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and child.poll() is None:
        if table.exists() and table.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{table} has no rows: {child.communicate()}")


@pytest.mark.parametrize(
    ("signals", "code", "words"),
    [
        ([signal.SIGTERM], 143, "ended by SIGTERM"),
        ([signal.SIGHUP], 129, "ended by SIGHUP"),
        ([signal.SIGINT], 130, "interrupted"),
        ([signal.SIGTERM, signal.SIGHUP, signal.SIGTERM], 143, "ended by SIGTERM"),
    ],
)
def test_a_signal_closes_the_outputs(
    tmp_path: Path, repository: Path, signals: Sequence[signal.Signals], code: int, words: str
) -> None:
    """SIGTERM and SIGHUP left an MP4 without its index."""
    write_video(tmp_path / "clip.avi", 1500)
    command = painted_command(
        *("detect", "clip.avi", "-o", "a.csv", "--video", "a.mp4", "--plot", "a.png"),
        before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n",  # the tests may run under nohup
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(repository), stdout=pipe, stderr=pipe, text=True) as child:
        wait_for_rows(child, tmp_path / "a.csv")
        for each in signals:
            child.send_signal(each)
            time.sleep(0.05)
        out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    rows = rows_of(tmp_path / "a.csv")
    assert 5 <= len(rows) < 1500 and None not in rows[-1].values()
    assert err == f"aunet: {words}; {len(rows)} rows are kept in a.csv\n" and "frames with a face" in out
    with av.open("a.mp4") as container:
        count = container.streams.video[0].frames  # of the index
        assert sum(1 for _ in container.decode(video=0)) == count
    assert len(rows) - 1 <= count <= len(rows)  # the signal may come between a row and its picture
    assert cv2.imread("a.png") is not None
    found = json.loads(Path("a.csv.json").read_text())
    assert (found["exit_code"], found["rows"], found["problems"]) == (code, len(rows), [words])


def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 60)
    command = painted_command(
        "detect", "clip.avi", before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(repository), stdout=pipe, stderr=pipe, text=True) as child:
        wait_for_rows(child, tmp_path / "clip.csv", 1)
        child.send_signal(signal.SIGHUP)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 0 and err == "" and len(rows_of(tmp_path / "clip.csv")) == 60


def test_a_killed_run_says_so_in_its_record(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 1500)
    with subprocess.Popen(painted_command("detect", "clip.avi"), env=environment(repository), text=True) as child:
        wait_for_rows(child, tmp_path / "clip.csv")
        child.kill()
    assert None not in rows_of(tmp_path / "clip.csv")[-1].values()
    assert json.loads(Path("clip.csv.json").read_text())["finished"] is None


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
def test_ctrl_c_at_any_time_prints_no_traceback(tmp_path: Path, repository: Path, wait_s: float) -> None:
    """While libraries were imported it did. Counted from the first line of our own: Python itself starts before."""
    write_video(tmp_path / "clip.avi", 1500)
    code = "import os, sys; from aunet_sdk.__main__ import main; "
    code += "sys.argv[:] = ['aunet', 'detect', 'clip.avi', '--threads', '1']; os.write({fd}, b'x'); main()"

    def interrupt(begun_s: float) -> tuple[int, str]:
        ours, theirs = os.pipe()
        command = [sys.executable, "-c", code.format(fd=theirs)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=environment(repository), stdout=pipe, stderr=pipe, text=True, pass_fds=[theirs]
        ) as child:
            os.close(theirs)
            assert os.read(ours, 1) == b"x"
            os.close(ours)
            time.sleep(wait_s + begun_s)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=60)
        return child.returncode, err

    for begun_s in (0.003, 0.01, 0.03, 0.1):  # on a busy machine main() has not begun yet
        code_of_exit, err = interrupt(begun_s)
        if not (code_of_exit == -signal.SIGINT and "aunet_sdk" not in err):
            break
    assert code_of_exit == 130, err
    assert err.count("\n") <= 1 and "Traceback" not in err and "Aborted" not in err


@pytest.mark.parametrize("command", [["detect", "clip.avi", "--video", "a.mp4"], ["info"]])
def test_a_reader_of_stdout_that_has_gone_changes_no_exit_code(
    tmp_path: Path, repository: Path, command: list[str]
) -> None:
    """All was written, and the exit code was 1."""
    write_video(tmp_path / "clip.avi", 20)
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            painted_command(*command), env=environment(repository), stdout=theirs, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_stdout_and_stderr_the_work_is_done(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 5)
    command = " ".join([*map(shlex.quote, painted_command("detect", "clip.avi")), ">&-", "2>&-"])
    done = subprocess.run(command, shell=True, env=environment(repository))
    assert done.returncode == 0 and len(rows_of(tmp_path / "clip.csv")) == 5


@full_device
@pytest.mark.parametrize("broken", ["a.csv", "a.mp4", "a.png", "stdout"])
def test_a_full_disk_names_the_file_and_is_no_bad_input(tmp_path: Path, repository: Path, broken: str) -> None:
    """A raw OSError without a name at the header, "bad input" later, dozens of lines of FFmpeg for a video."""
    write_video(tmp_path / "clip.avi", 40)
    if broken != "stdout":
        (tmp_path / broken).symlink_to("/dev/full")
    command = painted_command(
        *("detect", "clip.avi", "-o", "a.csv", "--video", "a.mp4", "--plot", "a.png"),
        before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n",  # the tests may run under nohup
    )
    with open("/dev/full" if broken == "stdout" else os.devnull, "w") as stdout:
        done = subprocess.run(command, env=environment(repository), stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1 and broken in done.stderr and "No space left on device" in done.stderr
    if broken != "a.csv":
        assert len(rows_of(tmp_path / "a.csv")) == 40
    if broken in ("a.mp4", "a.png"):
        assert "40 rows are kept in a.csv" in done.stderr
        assert (tmp_path / "a.png").stat().st_size or broken == "a.png"


def test_a_disk_that_fills_up_keeps_whole_frames_of_the_table(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 200)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    command = painted_command("detect", "clip.avi", before=limit)
    done = subprocess.run(command, env=environment(repository), capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    rows = rows_of(tmp_path / "clip.csv")
    assert 20 < len(rows) < 200 and None not in rows[-1].values()
    assert done.stderr.count("\n") == 1 and "clip.csv: File too large" in done.stderr
    assert f"{len(rows)} rows are kept in clip.csv" in done.stderr
    assert json.loads(Path("clip.csv.json").read_text())["exit_code"] == 4


def test_a_working_directory_that_was_removed(tmp_path: Path, repository: Path) -> None:
    """It gave a bare errno. With absolute paths alone nothing is missing."""
    write_video(tmp_path / "clip.avi", 2)
    (tmp_path / "gone").mkdir()
    remove = "import os; os.rmdir(os.getcwd())\n"
    clip, table = str(tmp_path / "clip.avi"), str(tmp_path / "a.csv")
    for arguments, code in (([clip, "-o", table], 0), ([clip], 2), (["clip.avi"], 2), (["clip.avi", "-o", table], 2)):
        (tmp_path / "gone").mkdir(exist_ok=True)
        command = painted_command("detect", *arguments, "--quiet", before=remove)
        done = subprocess.run(
            command, env=environment(repository), cwd=tmp_path / "gone", capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        if code:
            assert done.stderr.count("\n") == 1 and "the working directory does not exist any more" in done.stderr
    assert len(rows_of(tmp_path / "a.csv")) == 2


def test_an_input_without_a_decoder_costs_no_earlier_table(painted: None, tmp_path: Path) -> None:
    """AV1 in MP4 emptied the table before the decoder was missed."""
    write_video(tmp_path / "clip.avi", 5)
    assert aunet("detect", "clip.avi", "--video", "a.mp4", "--plot", "a.png", "--quiet").exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "clip.avi"}
    whole = (tmp_path / "clip.avi").read_bytes()
    for codec in (b"XXXX", b"RAWX"):  # unknown to every decoder
        (tmp_path / "clip.avi").write_bytes(whole.replace(b"MJPG", codec))
        result = aunet("detect", "clip.avi", "--video", "a.mp4", "--plot", "a.png", "--quiet")
        assert result.exit_code in (2, 4) and result.stderr.count("\n") == 1
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "clip.avi"} == before


def test_a_folder_of_images_none_of_which_can_be_read(painted: None, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite("set/a.png", paint((160, 120, 90)))
    assert aunet("detect", "set", "--quiet").exit_code == 0
    before = (tmp_path / "set.csv").read_bytes()
    (tmp_path / "set" / "a.png").write_bytes(b"no picture")
    result = aunet("detect", "set", "--quiet")
    assert result.exit_code == 2 and "set has no frame that can be read: image: set/a.png" in result.stderr
    assert (tmp_path / "set.csv").read_bytes() == before
    shutil.rmtree("set")
    assert aunet("detect", "set").exit_code == 2


def test_an_error_of_the_engine_on_the_way_keeps_the_rows(
    painted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ..painted import painted_detector

    write_video(tmp_path / "clip.avi", 40)

    def make(options: object) -> object:
        detector = painted_detector()
        find, calls = detector.finder.find, [0]

        def failing(*arguments: object) -> object:
            calls[0] += 1
            if calls[0] > 3:
                raise RuntimeError("the device has gone")
            return find(*arguments)  # type: ignore[arg-type]

        detector.finder.find = failing  # type: ignore[method-assign]
        return detector

    monkeypatch.setattr("aunet_sdk.commands.detect.Detector", make)
    result = aunet("detect", "clip.avi", "--video", "a.mp4", "--quiet")
    rows = rows_of(tmp_path / "clip.csv")
    assert len(rows) > 5 and f"{len(rows)} rows are kept in clip.csv" in result.stderr
    assert result.exit_code in (1, 3) and "the device has gone" in result.stderr
    assert json.loads(Path("clip.csv.json").read_text())["rows"] == len(rows)
