"""What the runtime's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aunet_sdk import Detector, FrameResult

from .painted import painted_detector
from .streams import clip, run


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is tmp_path."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    """Of painted faces (painted.py)."""
    with painted_detector() as made:
        yield made


@pytest.fixture(scope="module")
def reference(detector: Detector) -> list[FrameResult]:
    """What it finds in the thirty frames of `clip`."""
    return run(detector, clip(30))
