"""Small video files that OpenCV writes, and damage to them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Frame, VideoFile

COUNT = 40


def write(path: Path, code: str, count: int = COUNT, fps: float = 20.0) -> Path:
    """A video of 64x48 px, noise that moves; every frame differs from the others."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (64, 48))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV does not write {code} into {path.suffix}")
    for i in range(count):
        writer.write(np.roll(noise, i, 1))
    writer.release()
    return path


def cut(path: Path, size: int) -> Path:
    """Keeps the first `size` bytes."""
    path.write_bytes(path.read_bytes()[:size])
    return path


def break_pictures(path: Path, *which: int) -> Path:
    """Overwrites the beginning of these frames of a Motion JPEG file, behind the containers' own heads."""
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == COUNT
    for index in which:
        data[starts[index] : starts[index] + 300] = bytes(300)
    path.write_bytes(data)
    return path


def read_broken(path: Path, words: str) -> list[Frame]:
    """The frames of a file that is told to be broken, in these words (a regular expression)."""
    frames = []
    with pytest.raises(SourceLost, match=words):
        for frame in VideoFile(path):
            frames.append(frame)
    return frames
