"""What the tests of the scripts share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.aunet_sdk.painted import paint
from tests.benchmarks.scripts import figures_in, load


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(20):
        writer.write(paint((110 + i, 120, 90), background=i))
    writer.release()
    return path


@pytest.fixture
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """benchmarks/ on the path, where the scripts find each other."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return repository / "benchmarks"


@pytest.fixture
def here(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, dict[str, Any]]]:
    """`run` in this process, for scripts whose imports take longer than what they do here."""

    def call(script: str, *arguments: object) -> tuple[int, str, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        try:
            code = load(script.removesuffix(".py")).main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(code or 0), out + err, figures_in(out)

    return call
