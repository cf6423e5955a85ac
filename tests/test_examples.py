"""The programs of examples/ run to the end of a file, on painted faces."""

from __future__ import annotations

import runpy
import signal
import sys
from pathlib import Path

import pytest

from aunet_sdk import Detector, DetectorOptions

from .aunet_sdk.command import write_video
from .aunet_sdk.painted import painted_detector

SAID = {
    "people.py": ["person 1 enters the entrance", "person 1: looks here", "person 1 leaves the entrance after 1.2 s"],
    "kiosk.py": ["closed"],
    "robot_loop.py": [],
    "two_cameras.py": ["'camera 0': ", "'camera 1': "],
}


def painted(options: DetectorOptions | None = None) -> Detector:
    return painted_detector(look_ahead=options.look_ahead if options is not None else "full")


@pytest.mark.parametrize("name", SAID)
def test_it_runs_to_the_end(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    program, clip = str(repository / "examples" / name), str(write_video(tmp_path / "clip.avi", 25))
    monkeypatch.setattr(sys, "argv", [program, clip, str(write_video(tmp_path / "other.avi", 25))])
    monkeypatch.setattr("aunet_sdk.Detector", painted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        signal.signal(signal.SIGTERM, before)
    out, err = capfd.readouterr()
    assert all(words in out + err for words in SAID[name]), out + err
    assert "Traceback" not in err
