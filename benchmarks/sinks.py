"""Frames keep flowing whatever a sink does: slow, a dead broker, a full disk, a client that never reads.

    python benchmarks/sinks.py [--seconds 10] [--fps 30] [--case slow ...]

Results with a picture come at a camera's rate and go to a FanOut with a JSON Lines file and the sink of the case. The
ratio is the rate at which `put` took them, against that of the file alone; 0.95 is wanted. Whatever did not reach the
bad sink is counted. For each case: ratio, the longest wait in `put`, what was dropped, what the FanOut says about it.
The dead broker needs paho-mqtt, the client that never reads needs websockets. Exit code 1 where a ratio is below 0.95,
or nothing was counted. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, run

from aunet_sdk.errors import OutputLost
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.results import Face, FrameResult, HeadPose
from aunet_sdk.sinks import CallbackSink, FanOut, Sink, open_sink

WANTED = 0.95


def results(fps: float) -> Iterator[FrameResult]:
    """Two people, without end."""
    dice = np.random.default_rng(0)
    index = 0
    while True:
        faces = []
        for face_id in (1, 2):
            values = dice.random(len(AU_NAMES))
            faces.append(
                Face(
                    id=face_id,
                    box=np.array([100.0 * face_id, 50, 90, 110]),
                    score=0.9,
                    landmarks=dice.random((68, 2)) * 100,
                    landmark_confidence=np.full(68, 0.8),
                    pose=HeadPose(0.0, 0.0, 0.0),
                    au_names=AU_NAMES,
                    probabilities=values,
                    active=values > 0.5,
                )
            )
        yield FrameResult(index, index / fps, 640, 480, faces=tuple(faces))
        index += 1


@contextmanager
def nothing(folder: Path) -> Iterator[Sink | None]:
    yield None


@contextmanager
def slow(folder: Path) -> Iterator[Sink | None]:
    yield CallbackSink(lambda result, image: time.sleep(0.5))


@contextmanager
def hung(folder: Path) -> Iterator[Sink | None]:
    yield CallbackSink(lambda result, image: time.sleep(3600))


@contextmanager
def dead_broker(folder: Path) -> Iterator[Sink | None]:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        yield open_sink(f"mqtt://127.0.0.1:{taken.getsockname()[1]}/aunet")


@contextmanager
def silent_broker(folder: Path) -> Iterator[Sink | None]:
    with socket.socket() as listener:  # takes the connection and never answers
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield open_sink(f"mqtt://127.0.0.1:{listener.getsockname()[1]}/aunet")


@contextmanager
def full_disk(folder: Path) -> Iterator[Sink | None]:
    link = folder / "full.jsonl"
    link.symlink_to("/dev/full")
    yield open_sink(f"jsonl:{link}")


@contextmanager
def mute_client(folder: Path) -> Iterator[Sink | None]:
    sink = open_sink("ws://127.0.0.1:0")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", sink.port))  # type: ignore[attr-defined]
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        yield sink


CASES: dict[str, Callable[[Path], Any]] = {
    "none": nothing,
    "slow": slow,
    "hung": hung,
    "dead_broker": dead_broker,
    "silent_broker": silent_broker,
    "full_disk": full_disk,
    "mute_client": mute_client,
}
COUNTED = ("hung", "dead_broker", "silent_broker", "full_disk")
"""cases in which something has to be dropped at once; the system's buffers may hold a minute for a mute client"""


def measure(case: Callable[[Path], Any], seconds: float, fps: float) -> dict[str, Any]:
    image = np.zeros((480, 640, 3), np.uint8)
    with tempfile.TemporaryDirectory() as name, case(Path(name)) as bad:
        file = open_sink(f"jsonl:{Path(name) / 'good.jsonl'}")
        fan_out = FanOut({"file": file, **({"bad": bad} if bad is not None else {})}, capacity=64, end_s=4.0)
        start_s = time.perf_counter()
        longest_s, count = 0.0, 0
        for result in results(fps):
            due_s = start_s + count / fps
            now_s = time.perf_counter()
            if now_s - start_s >= seconds:
                break
            if now_s < due_s:
                time.sleep(due_s - now_s)
            began_s = time.perf_counter()
            fan_out.put(result, image)
            longest_s = max(longest_s, time.perf_counter() - began_s)
            count += 1
        rate = count / (time.perf_counter() - start_s)
        said = {**fan_out.troubles, **fan_out.failed}.get("bad")
        try:
            fan_out.close()
        except OutputLost as error:
            said = said or str(error)
        dropped = dict(fan_out.dropped)
        lines = len((Path(name) / "good.jsonl").read_text().splitlines())
    return {
        "fps": round(rate, 2),
        "longest_put_ms": round(1e3 * longest_s, 2),
        "dropped": dropped.get("bad", 0),
        "file_complete": lines == count and not dropped["file"],
        "said": said,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--case", action="append", choices=[*CASES][1:], help="these alone (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    if not given.seconds > 0 or not given.fps > 0:
        parser.error("expected --seconds and --fps above 0")
    logging.getLogger("aunet_sdk").setLevel(logging.CRITICAL)
    figures: dict[str, Any] = {**machine(), "cases": {}}
    print(f"{'case':14} {'fps':>7} {'ratio':>6} {'longest put':>12} {'dropped':>8}  said")
    good = True
    for name, case in CASES.items():
        if given.case and name not in ("none", *given.case):
            continue
        if name == "full_disk" and not os.path.exists("/dev/full"):
            continue
        row = measure(case, given.seconds, given.fps)
        alone = figures["cases"].get("none", row)["fps"]
        row["ratio"] = round(row["fps"] / alone, 4)
        figures["cases"][name] = row
        good = good and row["ratio"] >= WANTED and row["file_complete"] and (name not in COUNTED or row["dropped"] > 0)
        put_ms = row["longest_put_ms"]
        print(
            f"{name:14} {row['fps']:7.2f} {row['ratio']:6.3f} {put_ms:9.2f} ms {row['dropped']:8}  {row['said'] or ''}"
        )
    figures["ratio"] = min(row["ratio"] for row in figures["cases"].values())
    finish(figures, given.json)
    return int(not good)


if __name__ == "__main__":
    sys.exit(run("sinks", main))
