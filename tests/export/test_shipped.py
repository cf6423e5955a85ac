"""The parity page of a shipped model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import typer
from onnx import numpy_helper
from typer.testing import CliRunner

from export import shipped
from export.cli import app as export_app

app = typer.Typer()
app.command()(shipped.main)


@pytest.fixture
def call(
    checkpoint: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """bundle, other options -> exit code and page, of both graphs in one precision; a process of its own runs here."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, CliRunner().invoke(export_app, command[3:]).exit_code)

    monkeypatch.setattr(shipped, "VARIANTS", (("stream", "fp32"), ("clip", "fp32"), ("stream", "int8")))
    monkeypatch.setattr(shipped.subprocess, "run", run)
    target = tmp_path / "parity" / "README.md"

    def get(bundle: Path, *more: str) -> tuple[int, str]:
        files = ["--checkpoint", checkpoint, "--bundle", bundle, "--work", tmp_path, "--page", target]
        words = ["--clip", repository / "examples" / "sample.mp4", "--limit", 2, "--clip-limit", 2, *files, *more]
        result = CliRunner().invoke(app, list(map(str, words)))
        return result.exit_code, target.read_text(encoding="utf-8")

    return get


def test_every_bundle_and_clip_has_its_line(exported: Callable[[str, str], Path], call: Any) -> None:
    code, page = call(exported("stream", "points"))
    lines = [line for line in page.splitlines() if line.startswith("| ") and line.endswith("passed |")]
    assert code == 0 and len(lines) == 6, "three bundles, the example and the clip; no INT8 without labels"
    assert sum("tiny-points-stream-fp32.onnx" in line for line in lines) == 2
    assert sum("default-stream-fp32.onnx" in line for line in lines) == 2
    assert sum("default-clip-fp32.onnx" in line for line in lines) == 2
    assert sum("triplets of sample.mp4, aligned" in line for line in lines) == 3
    assert "    python -m export.shipped --clip sample.mp4 --limit 2 --clip-limit 2\n" in page
    assert "torch 2" in page and page.count("| AU12 |") == 3


def test_a_model_goes_by_its_name(exported: Callable[[str, str], Path], call: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(shipped, "VARIANTS", (("stream", "fp32"),))
    _, page = call(exported("stream", "points"), "--model", "nano")
    assert page.startswith("# Parity of the model `nano`") and "export.shipped --model nano --clip" in page
    assert "| nano-stream-fp32.onnx |" in page and "default" not in page


def test_a_shipped_bundle_of_another_model_fails(
    exported: Callable[[str, str], Path], call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "VARIANTS", ())
    proto = onnx.load(exported("stream", "points"))
    weight = max((t for t in proto.graph.initializer if len(t.dims) == 4), key=lambda t: len(t.raw_data))
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    (tmp_path / "broken.onnx").write_bytes(proto.SerializeToString())
    code, page = call(tmp_path / "broken.onnx")
    assert code == 1
    assert page.count("| FAILED |") == 2 and "| passed |" not in page


def test_what_calibrates_reaches_int8_alone(
    exported: Callable[[str, str], Path], checkpoint: Path, repository: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (tmp_path / "default-stream-fp32.parity.json").write_text('{"file": "none", "parts": [], "passed": true}')
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(shipped, "VARIANTS", (("stream", "fp32"), ("stream", "int8")))
    monkeypatch.setattr(shipped.subprocess, "run", run)
    sample = str(repository / "examples" / "sample.mp4")
    files = ["--checkpoint", checkpoint, "--bundle", exported("stream", "points"), "--work", tmp_path]
    words = ["--crops", sample, "--calibrate", "a.mp4", "--calibrate", "b.mp4", "--limit", 2, *files]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 2, "INT8 left no report"
    assert "--calibrate" not in commands[0]
    given = [commands[1][i + 1] for i, word in enumerate(commands[1]) if word == "--calibrate"]
    assert given == ["a.mp4", "b.mp4"]
