"""benchmarks/widths.py: cost and quality of models of several widths, in turns."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.shards import write_set


@pytest.fixture
def call(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """arguments -> exit code, what it wrote, the object in the last line."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    script = importlib.import_module("widths")

    def get(*arguments: object) -> tuple[int, str, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["widths.py", *map(str, arguments)])
        code = script.main()
        said = capsys.readouterr()
        lines = said.out.splitlines()
        return code, said.out + said.err, json.loads(lines[-1]) if lines else {}

    return get


def test_models_side_by_side(call: Any, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder)
    code, output, figures = call(checkpoint, checkpoint, "--data", folder, "--aus", "--frames", 8, "--rounds", 3)
    assert code == 0, output
    first, second = figures["models"]
    assert (first["width"], first["px"], first["ratio"]) == (16, 64, 1.0) and first["ms"] > 0
    assert second["nme_inner"] == first["nme_inner"] > 0.1, "random weights"
    assert {"points_auc", "points_f1", "aunet_auc", "aunet_f1"} <= set(first)
    assert figures["data"] == "set" and figures["split"] == "test"


def test_what_cannot_be_read_is_one_line(call: Any, tmp_path: Path) -> None:
    code, output, _ = call(tmp_path / "none.safetensors")
    assert code == 2 and output.startswith("widths: ") and "none.safetensors" in output and output.count("\n") == 1
