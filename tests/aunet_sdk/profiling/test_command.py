"""`aunet profile` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from aunet_sdk.cli import app

runner = CliRunner()
QUICK = ("--engine", "onnxruntime", "--threads", "1", "--duration", "0.3", "--size", "160x120")


def test_synthetic_with_figures_and_page(tmp_path: Path) -> None:
    json_path, html_path = tmp_path / "a.json", tmp_path / "a.html"
    done = runner.invoke(
        app,
        ["profile", "--synthetic", *QUICK, "--json", str(json_path), "--html", str(html_path)],
        env={"COLUMNS": "120"},
    )
    assert done.exit_code == 0, done.output
    figures = json.loads(json_path.read_text())
    assert (figures["engine"], figures["threads"], figures["faces"], figures["size"]) == (
        "onnxruntime",
        1,
        1,
        [160, 120],
    )
    assert figures["network_ms_per_face"] > 0 and figures["stages"]["sinks"]["mean_ms"] > 0
    for word in ("decode", "copy in", "p99", "frames/s", "ms per face", "look-ahead", "peak memory", "power"):
        assert word in done.output
    assert "<svg" in html_path.read_text()


def test_a_video(tmp_path: Path) -> None:
    path = tmp_path / "blank.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for _ in range(40):
        writer.write(cv2.UMat(48, 64, cv2.CV_8UC3).get())
    writer.release()
    done = runner.invoke(app, ["profile", str(path), *QUICK[:4], "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "a.json").read_text())["frames"] == 10
    assert "had no face" in done.output


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((), "either INPUT or --synthetic"),
        (("clip.mp4", "--synthetic"), "either INPUT or --synthetic"),
        (("missing.mp4",), "missing.mp4 does not exist"),
        (("--synthetic", "--size", "640"), "WIDTHxHEIGHT"),
        (("--synthetic", "--finder", "slime"), "slime"),
        (("--synthetic", "--finder", "yunet", "--finder-model", "missing.onnx"), "missing.onnx"),
        (("--synthetic", "--faces", "0"), "faces"),
        (("--synthetic", "--faces", "64", "--size", "64x64"), "fewer faces"),
        (("--synthetic", "--duration", "0"), "duration_s"),
        (("--synthetic", "--engine", "abacus"), "abacus"),
        (("--synthetic", "--compare", "onnxruntime"), "two engines"),
        (("--synthetic", "--compare", "onnxruntime,onnxruntime"), "two engines"),
        (("--synthetic", "--json", "/no/such/folder/a.json"), "/no/such/folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: tuple[str, ...], text: str) -> None:
    done = runner.invoke(app, ["profile", *arguments])
    assert done.exit_code == 2
    assert text in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i in range(40):
        cv2.imwrite(str(tmp_path / "set" / f"{i}.png"), cv2.UMat(48, 64, cv2.CV_8UC3).get())
    done = runner.invoke(app, ["profile", str(tmp_path / "set"), *QUICK[:4], "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "a.json").read_text())["frames"] == 10
