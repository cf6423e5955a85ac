"""Whether a live run grows: an hour of a camera, compressed, with people who come and go and every sink at work.

    python benchmarks/soak.py [--frames 108000] [--short] [--folder FOLDER] [--model BUNDLE] [--engine E] [--json FILE]

108,000 frames are 60 min at 30 fps; they come as fast as they are worked on, with times 1/30 s apart. The scene is cut
together from the sample's head: nobody, one or two people, who move, leave, come back as somebody new; the picture's
size changes, frames are missing, and now and then the source is "lost" (a new segment). Sinks: CSV, JSON Lines, a
video, UDP, WebSocket with a viewer, Prometheus, Parquet, MQTT to a broker that is not there, a callback: those whose
library is installed. Once a minute of the stream memory (RSS), threads and open files are read.

slope_mb_h: MB of RSS per hour of stream by least squares after the first quarter, target < 1; threads_grown
and fds_grown: from the end of the warm-up to the end, target 0. --short: 2,700 frames, for CI; it tells of leaks per
frame alone. Exit code 1 where threads or descriptors grew, a frame has no result, or the slope is above the target (not
with --short).
"""

from __future__ import annotations

import gc
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, machine, options_of, parser_of, run

from aunet_sdk import AUNetError, Detector, Frame, FrameResult
from aunet_sdk.live import FeedReport, LiveRunner
from aunet_sdk.sinks import FanOut, Sink, open_sink
from aunet_sdk.sinks.callback import CallbackSink
from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
FPS = 30.0
FRAMES, SHORT = 108_000, 2_700
TARGET_MB_H = 1.0
SIZE = (360, 640)


class Street:
    """A camera past which people walk. Reads memory, threads and files once a minute of its time."""

    frame_count = None
    live = True
    state = "running"

    def __init__(self, frames: int, seed: int = 0) -> None:
        self._count = frames
        self._dice = random.Random(seed)
        self._heads = [frame.image[40:330, 190:450].copy() for frame in VideoFile(SAMPLE)][::2]
        self._background = np.random.default_rng(seed).integers(60, 90, (*SIZE, 3), np.uint8)
        self.readings: list[tuple[float, float, int, int]] = []
        self.sent = 0
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        index, segment = 0, 0
        every = max(1, min(round(60 * FPS), self._count // 20))
        while index < self._count and not self._closed:
            people = [self._dice.randrange(2) for _ in range(self._dice.choice([0, 1, 1, 1, 2]))]
            start, length = self._dice.randrange(len(self._heads)), self._dice.randrange(60, 240)
            for step in range(min(length, self._count - index)):
                if index % every == 0:
                    self._read(index)
                if self._closed:
                    return
                if self._dice.random() > 0.01:  # else the frame is missing
                    self.sent += 1
                    yield Frame(self._scene(people, start + step, step), index / FPS, index, segment=segment)
                index += 1
            segment += self._dice.random() < 0.1
        self._read(index)

    def _scene(self, people: list[int], number: int, step: int) -> np.ndarray:
        image = self._background.copy()
        for place, which in enumerate(people):
            head = self._heads[number % len(self._heads)]
            head = head[:, ::-1] if which else head
            x = place * 320 + min(step, 50)
            image[30 : 30 + head.shape[0], x : x + head.shape[1]] = head
        return image

    def _read(self, index: int) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(list(Path("/proc/self/fd").iterdir()))
        self.readings.append((index / FPS / 3600, pages * 4096 / 1e6, threading.active_count(), files))

    def close(self) -> None:
        self._closed = True


def open_sinks(folder: Path, au_names: tuple[str, ...], stack: ExitStack) -> tuple[dict[str, Sink], list[str]]:
    """All kinds that can be opened here, and those that cannot."""
    uris = [
        f"csv:{folder / 'a.csv'}",
        f"jsonl:{folder / 'a.jsonl'}",
        f"parquet:{folder / 'a.parquet'}",
        f"video:{folder / 'a.mp4'}",
        "udp://127.0.0.1:47998",
        "ws://127.0.0.1:47999",
        "prometheus://127.0.0.1:48000",
        "mqtt://127.0.0.1:48001/soak",  # nobody is there
        "osc://127.0.0.1:48002/soak",
    ]
    sinks: dict[str, Sink] = {}
    missing = []
    for uri in uris:
        try:
            sinks[uri] = open_sink(uri, source="soak", au_names=au_names, fps=FPS)
        except AUNetError as error:
            missing.append(f"{uri.partition(':')[0]}: {error}")
    if any(uri.startswith("ws:") for uri in sinks):
        stack.callback(_viewer())
    return sinks, missing


def _viewer() -> Any:
    """A reader of the WebSocket, and what ends it."""
    from websockets.sync.client import connect

    done = threading.Event()

    def view() -> None:
        with connect("ws://127.0.0.1:47999", max_size=None) as socket:
            while not done.is_set():
                try:
                    socket.recv(timeout=0.5)
                except TimeoutError:
                    pass
                except Exception:  # the server ends first
                    return

    thread = threading.Thread(target=view, daemon=True)
    thread.start()

    def end() -> None:
        done.set()
        thread.join(5)

    return end


def measure(arguments: Any, folder: Path) -> dict[str, Any]:
    street = Street(SHORT if arguments.short else arguments.frames)
    results = people = 0
    ids: set[int] = set()

    def take(result: FrameResult, _: object) -> None:
        nonlocal results, people
        results += 1
        people = max(people, len(result.faces))
        ids.update(face.id for face in result.faces)

    reports: list[FeedReport] = []
    begun_s = time.monotonic()
    with ExitStack() as stack, Detector(options_of(arguments, max_faces=2)) as detector:
        sinks, missing = open_sinks(folder, detector.au_names, stack)
        sinks["callback"] = CallbackSink(take)
        with FanOut(sinks, policy="wait") as fan_out:
            with LiveRunner(
                detector, [fan_out], events={}, on_end=lambda feed: reports.append(feed.report())
            ) as runner:
                runner.add("street", street)
                runner.run()
                errors = dict(runner.errors)
        dropped = {name.partition(":")[0]: count for name, count in fan_out.dropped.items() if count}
        failed = dict(fan_out.failed)
    if errors:
        raise next(iter(errors.values()))
    settled = np.array(street.readings[len(street.readings) // 4 :])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])
    return {
        "benchmark": "soak",
        **machine(),
        "short": bool(arguments.short),
        "hours": round(street.readings[-1][0], 3),
        "wall_s": round(time.monotonic() - begun_s, 1),
        "frames": street.sent,
        "missing_results": street.sent - results,
        "people_at_once": people,
        "ids": len(ids),
        "sinks": sorted(name.partition(":")[0] for name in sinks),
        "sinks_missing": missing,
        "sinks_failed": failed,
        "sinks_dropped": dropped,
        "rss_mb": round(float(settled[-1, 1]), 1),
        "slope_mb_h": round(slope, 3),
        "target_mb_h": TARGET_MB_H,
        "threads_grown": int(settled[-1, 2] - settled[0, 2]),
        "fds_grown": int(settled[-1, 3] - settled[0, 3]),
    }


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"default: {FRAMES}")
    parser.add_argument("--short", action="store_true", help=f"{SHORT} frames")
    parser.add_argument("--folder", type=Path, help="for what the sinks write (default: one that is removed)")
    arguments = parser.parse_args()
    if arguments.frames < 100:
        parser.error("--frames: expected 100 or more")
    logging.getLogger("aunet_sdk").setLevel(logging.ERROR)

    def body() -> int:
        with tempfile.TemporaryDirectory() as place:
            folder = arguments.folder or Path(place)
            figures = measure(arguments, folder)
        for name in ("frames", "missing_results", "ids", "rss_mb", "slope_mb_h", "threads_grown", "fds_grown"):
            print(f"{name:20} {figures[name]:>12}")
        for line in figures["sinks_missing"]:
            print(f"left out: {line}")
        finish(figures, arguments.json)
        grown = figures["threads_grown"] > 0 or figures["fds_grown"] > 0 or figures["missing_results"]
        steep = not arguments.short and figures["slope_mb_h"] >= TARGET_MB_H
        return int(bool(grown or steep))

    return run("soak", body)


if __name__ == "__main__":
    sys.exit(main())
