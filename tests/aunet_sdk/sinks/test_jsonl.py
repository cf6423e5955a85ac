"""JSON Lines: every message at once, whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput, OutputLost
from aunet_sdk.sinks import JsonlSink
from aunet_sdk.sinks.base import Sink
from aunet_sdk.sinks.message import message_schema, status_message

from ..scripted import face, frame


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_every_frame_is_a_line_at_once_also_without_a_face(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "a.jsonl", "rtsp://admin:hunter2@cam/1")
    assert isinstance(sink, Sink)
    for index in range(3):
        sink.put(frame(index, *([face()] if index else [])))
        assert len(read(tmp_path / "a.jsonl")) == index + 1 == sink.lines
    sink.send(status_message("closed", "the end of the file", engine="onnxruntime", fps=25, dropped={"late": 1}))
    sink.put(frame(3), file="b.png")
    sink.close()
    messages = read(tmp_path / "a.jsonl")
    for message in messages:
        jsonschema.validate(message, message_schema())
    assert [m.get("frame") for m in messages] == [0, 1, 2, None, 3]
    assert [len(m["faces"]) for m in messages[:3]] == [0, 1, 1]
    assert messages[0]["source"] == "rtsp://***@cam/1" and messages[4]["source"] == "b.png"


def test_it_replaces_a_file_and_ends_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")
    with JsonlSink(path) as sink:
        sink.put(frame(0))
    sink.close()
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(1))
    assert len(read(path)) == 1


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"JSON Lines: cannot write to .*; give another path"):
        JsonlSink(tmp_path / "none" / "a.jsonl")


def test_a_full_disk_is_named() -> None:
    sink = JsonlSink("/dev/full")
    for _ in range(2):
        with pytest.raises(OutputLost, match=r"JSON Lines: cannot write to /dev/full: .*make room"):
            sink.put(frame(0))
    assert sink.lines == 0
    sink.abandon()


def test_a_disk_that_becomes_full_keeps_whole_lines(tmp_path: Path) -> None:
    """In a process of its own, whose files may grow to a few lines."""
    code = (
        "import resource, signal, sys; from aunet_sdk.errors import OutputLost; from aunet_sdk.sinks import JsonlSink\n"
        "from aunet_sdk.sinks.message import status_message\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "sink = JsonlSink(sys.argv[1])\n"
        "try:\n"
        "    while True: sink.send(status_message('running'))\n"
        "except OutputLost as error:\n"
        "    print(sink.lines, error); sink.abandon()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jsonl")], capture_output=True, text=True, timeout=120
    )
    count, message = done.stdout.split(" ", 1)
    assert "make room" in message, done.stderr
    assert len(read(tmp_path / "a.jsonl")) == int(count) > 3
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def in_a_pipe(code: str, stdout: int) -> subprocess.CompletedProcess[bytes]:
    lines = "from aunet_sdk.sinks import JsonlSink; from aunet_sdk.sinks.message import status_message\n" + code
    return subprocess.run([sys.executable, "-c", lines], stdout=stdout, stderr=subprocess.PIPE, timeout=120)


def test_standard_output_keeps_the_order_and_stays_open() -> None:
    done = in_a_pipe(
        "print('first')\nwith JsonlSink('-') as sink:\n    sink.send(status_message('running'))\nprint('last')",
        subprocess.PIPE,
    )
    first, message, last = done.stdout.decode().splitlines()
    assert (first, last) == ("first", "last") and json.loads(message)["state"] == "running", done.stderr


def test_a_pipe_that_nobody_reads_is_named() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import os\nfrom aunet_sdk.errors import OutputLost\nsink = JsonlSink('-')\n"
        "try:\n    sink.send(status_message('running'))\n"
        "except OutputLost as error:\n    os.write(2, str(error).encode()); os._exit(7)\n"
    )
    done = in_a_pipe(code, writer)
    os.close(writer)
    assert done.returncode == 7
    assert done.stderr.decode().startswith("JSON Lines: cannot write to standard output: Broken pipe")
