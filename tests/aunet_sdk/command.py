"""The aunet command in this process, and videos of painted faces to run it on."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
from typer.testing import CliRunner, Result

from aunet_sdk.cli import app
from aunet_sdk.facs import AU_NAMES

from .painted import paint

SHIPPED_AUS = (*AU_NAMES, "AU45")
"""of the default model: the paper's, and the blink"""


def aunet(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_video(path: Path, frames: int = 30, face: bool = True, sharp: bool = False) -> Path:
    """30 frames of a painted face, of which every second is too plain to be sharp, or none (`sharp`)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (320, 240))
    for i in range(frames):
        writer.write(paint(*([(110 + i % 60, 120, 90)] if face else []), background=2 * i + 1 if sharp else i))
    writer.release()
    return path
