"""What a Triton server costs beside an engine in the client's own process, and how many frames it serves.

    python benchmarks/served.py HOST:PORT [CLIP] [--frames 60] [--rounds 3] [--clients 8]

The server runs `aunet_stream` (docs/scale.md). Both push the clip's first frames (default: examples/sample.mp4), in
turns; then so many clients at once, each a thread with a stream of its own. Beside the median of a push stands that of
one call of the server, which is a part of it: the rest is the client's own work, faces and crops. The last line is one
JSON object.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from common import finish, machine, parser_of, run

from aunet_sdk import Detector, DetectorOptions, Frame
from aunet_sdk.engines.triton.connection import Connection
from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"


class Calls:
    """Seconds of every call of the server, while the block lasts."""

    def __init__(self) -> None:
        self.spent_s: list[float] = []

    def __enter__(self) -> Calls:
        self._infer = infer = Connection.infer

        def timed(*args: Any, **more: Any) -> Any:
            start_s = time.perf_counter()
            try:
                return infer(*args, **more)
            finally:
                self.spent_s.append(time.perf_counter() - start_s)

        Connection.infer = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Connection.infer = self._infer  # type: ignore[method-assign]


def follow(options: DetectorOptions, frames: Sequence[Frame]) -> list[float]:
    """Seconds: to open the detector, then of each push."""
    spent_s, start_s = [], time.perf_counter()
    with Detector(options) as detector:
        spent_s.append(time.perf_counter() - start_s)
        for frame in frames:
            start_s = time.perf_counter()
            detector.push(frame.image, frame.timestamp_s)
            spent_s.append(time.perf_counter() - start_s)
    return spent_s


def body() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("url", metavar="HOST:PORT", help="of the server's gRPC")
    parser.add_argument("clip", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    engine = "onnxruntime" if arguments.engine == "auto" else arguments.engine
    own = DetectorOptions(model=arguments.model, engine=engine, threads=arguments.threads or 1)
    served = DetectorOptions(model=arguments.model, engine="triton", engine_options={"url": arguments.url})
    Detector(served).close()  # a server that is not there is told before anything is measured
    frames = list(islice(VideoFile(arguments.clip), arguments.frames))
    spent: dict[str, list[list[float]]] = {"own": [], "served": []}
    with Calls() as calls:
        for _ in range(arguments.rounds):
            spent["own"].append(follow(own, frames))
            spent["served"].append(follow(served, frames))
    push_ms = {name: 1e3 * statistics.median(s for each in rounds for s in each[2:]) for name, rounds in spent.items()}
    open_ms = {name: 1e3 * statistics.median(each[0] for each in rounds) for name, rounds in spent.items()}
    call_ms = 1e3 * statistics.median(calls.spent_s)
    with ThreadPoolExecutor(arguments.clients) as pool:
        start_s = time.perf_counter()
        list(pool.map(lambda _: follow(served, frames), range(arguments.clients)))
        fps = arguments.clients * len(frames) / (time.perf_counter() - start_s)
    print(f"{'':8}{'open, ms':>10}{'push, ms':>10}")
    for name in spent:
        print(f"{name:8}{open_ms[name]:10.1f}{push_ms[name]:10.2f}")
    print(f"one call of the server {call_ms:.2f} ms; {arguments.clients} clients together {fps:.0f} frames/s")
    figures = {"benchmark": "served", **machine(), "frames": len(frames), "open_ms": open_ms, "push_ms": push_ms}
    more = {"call_ms": call_ms, "clients": arguments.clients, "clients_fps": fps}
    return finish({**figures, **more}, arguments.json)


def main() -> int:
    return run("served", body)


if __name__ == "__main__":
    sys.exit(main())
