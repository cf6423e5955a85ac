"""Video on standard input, through a real pipe."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from .clips import noise, write

CODE = """
import json, sys
from aunet_sdk import AUNetError
from aunet_sdk.sources import SourceOptions, open_source
try:
    with open_source("-", SourceOptions(**json.loads(sys.argv[1]))) as source:
        frames = [(f.index, round(f.timestamp_s, 3), f.image.shape) for f in source]
        print(json.dumps([frames, str(source.state), dict(source.dropped)]))
except AUNetError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def read(data: bytes, **options: object) -> list[object]:
    command = [sys.executable, "-c", CODE, json.dumps(options)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    assert not done.stderr, done.stderr.decode()
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("suffix, code", [(".mkv", "H264"), (".ts", "H264")])
def test_a_container(tmp_path: Path, suffix: str, code: str) -> None:
    frames, state, dropped = read(write(tmp_path / f"a{suffix}", code, 20).read_bytes())
    assert isinstance(frames, list) and len(frames) == 20 and (state, dropped) == ("closed", {})
    assert [index for index, _, _ in frames] == list(range(20))
    steps = [b[1] - a[1] for a, b in itertools.pairwise(frames)]
    assert all(abs(step - 0.05) < 0.002 for step in steps)
    assert {tuple(shape) for _, _, shape in frames} == {(48, 64, 3)}


def test_mjpeg_has_the_rate_that_is_given() -> None:
    data = b"".join(cv2.imencode(".jpg", noise(i))[1].tobytes() for i in range(30))
    frames, state, dropped = read(data, fps=10)
    assert isinstance(frames, list) and (state, dropped) == ("closed", {})
    assert [time_s for _, time_s, _ in frames] == [round(i / 10, 3) for i in range(30)]


def test_nonsense() -> None:
    found = read(b"this is no video\n" * 1000)
    assert found[0] in ("SourceLost", "InvalidInput") and "stdin" in str(found[1])
