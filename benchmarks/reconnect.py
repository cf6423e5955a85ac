"""A real RTSP stream that is lost again and again: how long until there are results again, and is nothing mixed up?

    python benchmarks/reconnect.py [CLIP] [--losses 20] [--down 4] [--up 6] [--model BUNDLE] [--engine E]

A GStreamer server, with a password, serves the sample. Every other loss kills it and starts it again after `--down`
seconds; the others freeze it (SIGSTOP) for as long and then let it go on. Measured is the time from the moment at which
the source is there again (the server takes connections, or was let go on) to the next result of the detector.
`spanning` counts results with a face whose context reaches over a gap: by the times of the frames that were handed out
in the segment of the result, no neighbour 0.4 s before (or after) it can exist, and yet it claims one. It also counts
results that come in another order than the frames.

Needs the Debian packages gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-good and -ugly.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import finish, machine, options_of, parser_of, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from aunet_sdk import BackendUnavailable, Detector, Frame, FrameResult
from aunet_sdk.results import Context
from aunet_sdk.sources import LiveSource, SourceOptions, VideoFile, open_source
from tests.aunet_sdk.sources.rtsp_server import RtspServer, why_not

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
TARGET_S = 5.0


def encode(clip: Path, path: Path, seconds: float) -> None:
    """The clip as H.264 with a key frame every second, again and again for so long."""
    import av

    with av.open(str(path), "w") as file:
        source = VideoFile(clip)
        fps = round(source.fps)
        video: Any = file.add_stream("libx264", rate=fps, options={"g": str(fps), "preset": "ultrafast", "bf": "0"})
        video.width, video.height, video.pix_fmt = source.width // 2 * 2, source.height // 2 * 2, "yuv420p"
        left = round(seconds * fps)
        while left > 0:
            for frame in source:
                picture = av.VideoFrame.from_ndarray(frame.image[: video.height, : video.width], format="bgr24")
                file.mux(video.encode(picture))
                left -= 1
                if not left:
                    break
        file.mux(video.encode(None))


class Losses:
    """Breaks the server `count` times, in a thread; notes when the source was there again, and the next result."""

    def __init__(self, server: RtspServer, count: int, up_s: float, down_s: float) -> None:
        self.kinds = ["killed" if i % 2 == 0 else "frozen" for i in range(count)]
        self.waits_s: list[float] = []
        self._server, self._up_s, self._down_s = server, up_s, down_s
        self._back_s: float | None = None
        self._result = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def result(self) -> None:
        """A result has come, of a frame that was taken after the source was there again."""
        if self._back_s is not None:
            self.waits_s.append(time.monotonic() - self._back_s)
            self._back_s = None
            self._result.set()

    def _work(self) -> None:
        for kind in self.kinds:
            time.sleep(self._up_s)
            self._result.clear()
            if kind == "killed":
                self._server.kill()
                time.sleep(self._down_s)
                self._server.start()
            else:
                self._server.freeze()
                time.sleep(self._down_s)
                self._server.thaw()
            self._back_s = time.monotonic()
            if not self._result.wait(120):
                return

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()


def spanning(results: list[tuple[FrameResult, int]], times: dict[int, list[float]], interval_s: float) -> int:
    """How many results claim a neighbour that their own segment does not have, or come out of order.

    Args:
        results: each with its segment.  times: of the frames of every segment.
    """
    final = [result.index for result, _ in results if not result.provisional]
    wrong = sum(two <= one for one, two in pairwise(final))
    for result, segment in results:
        own = times[segment]
        slack_s = 2.0 * max((b - a for a, b in pairwise(own)), default=0.0)
        past = result.timestamp_s - own[0] >= interval_s - slack_s
        future = own[-1] - result.timestamp_s >= interval_s - slack_s
        for face in result.faces:
            wrong += face.context in (Context.PAST, Context.FULL) and not past
            wrong += face.context in (Context.FUTURE, Context.FULL) and not future
    return wrong


def measure(arguments: argparse.Namespace) -> int:
    if why_not():
        raise BackendUnavailable(f"reconnect: {why_not()}")
    figures: dict[str, Any] = machine()
    with tempfile.TemporaryDirectory() as folder, Detector(options_of(arguments, look_ahead="both")) as detector:
        clip = Path(folder) / "clip.mp4"
        encode(arguments.clip, clip, 3 * (arguments.up + arguments.down) + 60)
        launch = f"filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1"
        frames, results, dropped = follow(detector, launch, arguments)
    segments = {frame.index: frame.segment for frame in frames}
    times: dict[int, list[float]] = {}
    for frame in frames:
        times.setdefault(frame.segment, []).append(frame.timestamp_s)
    figures |= {
        "losses": len(arguments.kinds),
        "segments": len(times) - 1,
        "worst_s": round(max(arguments.waits_s, default=float("inf")), 2),
        "median_s": round(statistics.median(arguments.waits_s), 2),
        "spanning": spanning([(r, segments[r.index]) for r in results], times, detector.bundle.interval_s),
        "results": len(results),
        "with_face": sum(bool(result.faces) for result in results),
        "dropped": dropped,
    }
    print(f"{'loss':>4}  {'kind':<8}{'result after (s)':>16}")
    for i, (kind, wait_s) in enumerate(zip(arguments.kinds, arguments.waits_s, strict=False)):
        print(f"{i + 1:>4}  {kind:<8}{wait_s:>16.2f}")
    print(f"worst {figures['worst_s']} s (target {TARGET_S:g}), spanning {figures['spanning']} (target 0)")
    return finish(figures, arguments.json)


def follow(
    detector: Detector, launch: str, arguments: argparse.Namespace
) -> tuple[list[Frame], list[FrameResult], dict[str, int]]:
    """All frames (without their pictures) and results, until the last loss is over."""
    seen: list[Frame] = []
    results: list[FrameResult] = []
    with RtspServer(launch, "operator", "s3cr/et") as server:
        losses = Losses(server, arguments.losses, arguments.up, arguments.down)
        source = open_source(server.url, SourceOptions(wait=True))
        assert isinstance(source, LiveSource)

        def frames() -> Iterator[Frame]:
            for frame in source:
                seen.append(Frame(frame.image[:0], frame.timestamp_s, frame.index, segment=frame.segment))
                yield frame
                if losses.over:
                    return

        with source:
            for result in detector.stream(frames()):
                if not results:
                    losses.start()
                results.append(result)
                losses.result()
        arguments.kinds, arguments.waits_s = losses.kinds, losses.waits_s
        return seen, results, dict(source.dropped)


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument(
        "clip", nargs="?", type=Path, default=SAMPLE, help="what the server shows (default: the sample)"
    )
    parser.add_argument("--losses", type=int, default=20)
    parser.add_argument(
        "--up", type=float, default=6.0, metavar="S", help="seconds between a recovery and the next loss"
    )
    parser.add_argument("--down", type=float, default=4.0, metavar="S", help="how long the source is away")
    arguments = parser.parse_args()
    return run("reconnect.py", lambda: measure(arguments))


if __name__ == "__main__":
    sys.exit(main())
