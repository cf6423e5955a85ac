"""How old a causal result is when it reaches a sink, at a camera's pace.

    python benchmarks/age.py [CLIP] [--fps 30] [--seconds 60] [--page] [--model BUNDLE] [--engine E] [--json FILE]

The frames of CLIP (default: the sample), decoded before, are handed over one every 1 / fps s, as a camera does it: a
frame that is not taken before the next is lost ("superseded"). Age: from the moment at which a frame is there to the
moment at which a sink behind the FanOut of a live run has its result (look-ahead "none"). --page: with the page open
and its pictures wanted. median_ms, p99_ms, and their targets, 30 and 60; the first two seconds are not counted.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import finish, machine, options_of, parser_of, run

from aunet_sdk import Detector, Frame, FrameResult
from aunet_sdk.live import LiveRunner
from aunet_sdk.sinks import CallbackSink, FanOut, Sink
from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
TARGET_MEDIAN_MS, TARGET_P99_MS = 30.0, 60.0
WARM_UP_S = 2.0


class PacedCamera:
    """The frames of a clip, over and over, at a pace of their own; times are those of time.monotonic()."""

    frame_count = None
    live = True
    state = "running"

    def __init__(self, clip: Path, fps: float, seconds: float) -> None:
        self._images = [frame.image for frame in VideoFile(clip)][: round(10 * fps)]
        self.fps, self._seconds = fps, seconds
        self.superseded = 0
        self._closing = threading.Event()

    @property
    def dropped(self) -> dict[str, int]:
        return {"superseded": self.superseded} if self.superseded else {}

    def __iter__(self) -> Iterator[Frame]:
        start_s, last = time.monotonic(), -1
        while not self._closing.is_set():
            now_s = time.monotonic()
            index = max(last + 1, int((now_s - start_s) * self.fps))  # the newest that is there
            due_s = start_s + index / self.fps
            if due_s > now_s and self._closing.wait(due_s - now_s):
                return
            if due_s - start_s >= self._seconds:
                return
            self.superseded += index - last - 1
            last = index
            yield Frame(self._images[index % len(self._images)], due_s, index)

    def close(self) -> None:
        self._closing.set()


def open_page() -> tuple[Sink, threading.Event, threading.Thread]:
    """The page on a free port, and a viewer that takes its pictures."""
    from websockets.sync.client import connect

    from aunet_sdk.live.page import PageServer

    page = PageServer("127.0.0.1", 0)
    done = threading.Event()

    def view() -> None:
        address = page.url.replace("http://", "ws://") + "live"
        with connect(address, origin=page.url.rstrip("/"), max_size=None) as viewer:
            while not done.is_set():
                try:
                    viewer.recv(timeout=0.2)
                except TimeoutError:
                    pass

    thread = threading.Thread(target=view, daemon=True)
    thread.start()
    return page, done, thread


def measure(arguments: Any) -> dict[str, Any]:
    ages_ms: list[float] = []
    begun_s = time.monotonic()

    def take(result: FrameResult, _: object) -> None:
        now_s = time.monotonic()
        if now_s - begun_s > WARM_UP_S:
            ages_ms.append(1e3 * (now_s - result.timestamp_s))

    camera = PacedCamera(arguments.clip, arguments.fps, arguments.seconds)
    sinks: dict[str, Sink] = {"measure": CallbackSink(take)}
    done, viewer = threading.Event(), None
    if arguments.page:
        sinks["page"], done, viewer = open_page()
    with Detector(options_of(arguments, look_ahead="none")) as detector, FanOut(sinks) as fan_out:
        detector.detect(camera._images[0])
        with LiveRunner(detector, [fan_out], events={}) as runner:
            runner.add("camera", camera)
            begun_s = time.monotonic()
            runner.run()
            errors = dict(runner.errors)
        name = detector.engine.name
        done.set()
        dropped = dict(fan_out.dropped)
    if viewer is not None:
        viewer.join(5)
    if errors:
        raise next(iter(errors.values()))
    ages_ms.sort()
    return {
        "benchmark": "age",
        **machine(),
        "engine": name,
        "fps": arguments.fps,
        "page": bool(arguments.page),
        "frames": len(ages_ms),
        "superseded": camera.superseded,
        "sink_dropped": dropped["measure"],
        "median_ms": round(statistics.median(ages_ms), 2),
        "p99_ms": round(ages_ms[min(len(ages_ms) - 1, int(0.99 * len(ages_ms)))], 2),
        "worst_ms": round(ages_ms[-1], 2),
        "target_median_ms": TARGET_MEDIAN_MS,
        "target_p99_ms": TARGET_P99_MS,
    }


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clip", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--page", action="store_true", help="with the page open")
    arguments = parser.parse_args()
    if not arguments.fps > 0 or not arguments.seconds > WARM_UP_S:
        parser.error(f"--fps: expected a number above 0; --seconds: above {WARM_UP_S:g}")

    def body() -> int:
        figures = measure(arguments)
        print(f"{'age of a causal result, ms':28} {'figure':>9} {'target':>9}")
        for name in ("median", "p99"):
            print(f"{name:28} {figures[f'{name}_ms']:9.2f} {figures[f'target_{name}_ms']:9.2f}")
        print(f"{'worst':28} {figures['worst_ms']:9.2f}")
        print(f"{figures['frames']} frames, {figures['superseded']} superseded")
        return finish(figures, arguments.json)

    return run("age", body)


if __name__ == "__main__":
    sys.exit(main())
