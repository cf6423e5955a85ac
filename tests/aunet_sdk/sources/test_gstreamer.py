"""Pipelines of a real GStreamer, where PyGObject is there for this Python; else what is said instead."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys

import pytest

from aunet_sdk import BackendUnavailable
from aunet_sdk.sources import SourceOptions, gstreamer, open_source
from aunet_sdk.sources.gstreamer import csi_pipeline

SYSTEM = "/usr/lib/python3/dist-packages"
"""where Debian's PyGObject lies, for the system's Python; it works for ours where the versions are the same"""
CODE = """
import itertools, json, sys
sys.path.append(sys.argv[1])
from aunet_sdk import AUNetError
from aunet_sdk.sources import SourceOptions, open_source
try:
    with open_source(sys.argv[2], SourceOptions(**json.loads(sys.argv[3]))) as source:
        frames = [[f.index, f.timestamp_s, f.image.shape, f.image[2, 2].tolist(), f.segment]
                  for f in itertools.islice(source, int(sys.argv[4]))]
        print(json.dumps([frames, source.live]))
except AUNetError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@functools.cache
def has_gst() -> bool:
    code = "import sys; sys.path.append(sys.argv[1]); from aunet_sdk.sources import gstreamer as g; g._load_gst().init"
    return not subprocess.run([sys.executable, "-c", code, SYSTEM], capture_output=True).returncode


def run(uri: str, count: int = 10**6, **options: object) -> list[object]:
    if not has_gst():
        pytest.skip("no PyGObject with GStreamer for this Python (apt install python3-gi gir1.2-gst-plugins-base-1.0)")
    command = [sys.executable, "-c", CODE, SYSTEM, uri, json.dumps(options), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


def test_a_pipeline_with_an_end_gives_every_frame_with_its_time() -> None:
    caps = "video/x-raw,width=51,height=20,framerate=20/1"  # a row of 153 bytes takes 156
    frames, live = run(f"gst:videotestsrc num-buffers=30 pattern=red ! {caps} ! appsink drop=true", policy="all")
    assert isinstance(frames, list) and len(frames) == 30 and live is False
    times = [time_s for _, time_s, *_ in frames]
    assert all(abs(b - a - 0.05) < 0.002 for a, b in itertools.pairwise(times))
    for _, _, shape, (blue, green, red), segment in frames:
        assert shape == [20, 51, 3] and red > 240 and green < 15 and blue < 15 and segment == 0


def test_a_live_pipeline_that_ends_is_opened_again() -> None:
    caps = "video/x-raw,width=32,height=24,framerate=50/1"
    frames, live = run(f"gst:videotestsrc is-live=true num-buffers=5 ! {caps}", 12, policy="all", retry_first_s=0.05)
    assert isinstance(frames, list) and live is True
    assert [segment for *_, segment in frames] == [0] * 5 + [1] * 5 + [2] * 2


def test_errors_are_named_without_credentials() -> None:
    kind, message = run("gst:nosuchelement location=rtsp://me:secret@host ! fakesink")
    assert kind == "BackendUnavailable" and "nosuchelement" in str(message) and "secret" not in str(message)
    kind, message = run("gst:filesrc location=/no/such/file ! decodebin")
    assert kind == "SourceLost" and "cannot be opened" in str(message)


def test_without_gstreamer_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "_load_gst", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"neither PyGObject nor OpenCV .* apt install python3-gi"):
        open_source("gst:videotestsrc")


def test_the_pipeline_of_a_jetsons_camera() -> None:
    options = SourceOptions(width=1080, height=1920, fps=29.97, rotation=90)
    assert csi_pipeline(1, options) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1,format=NV12 "
        "! nvvidconv ! video/x-raw,format=BGRx"
    )
    assert "width=1280,height=720,framerate=30/1" in csi_pipeline(0, SourceOptions())
