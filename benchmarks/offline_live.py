"""Whether a live run gives the numbers of a file: every frame of every clip, with the paper's look-ahead.

    python benchmarks/offline_live.py CLIP... [--frames N] [--model BUNDLE] [--engine E] [--threads N] [--json FILE]

Each clip goes through `Detector.detect_video` and, as a source of a `LiveRunner`, through the live path of
`aunet live`. Results are compared frame by frame: times, ids, contexts, probabilities and points. CLIP may be a folder,
whose videos are taken. Exit code 1 where a probability differs by more than 1e-4, or anything else at all differs.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, options_of, parser_of, run

from aunet_sdk import Detector, Frame, FrameResult, InvalidInput
from aunet_sdk.live import LiveRunner
from aunet_sdk.sinks import CallbackSink, FanOut
from aunet_sdk.sources import VideoFile, source_kind

MOST = 1e-4


class FirstFrames:
    """A source of the first `count` frames of a clip; all of them where it is None."""

    def __init__(self, clip: Path, count: int | None) -> None:
        self._video, self._count = VideoFile(clip), count
        self.frame_count = self._video.frame_count

    def __iter__(self) -> Iterator[Frame]:
        return itertools.islice(iter(self._video), self._count)

    def close(self) -> None:
        self._video.close()


def told(result: FrameResult) -> tuple[Any, ...]:
    """What has to be equal."""
    return result.index, result.timestamp_s, [(face.id, face.context) for face in result.faces]


def numbers(result: FrameResult, name: str) -> np.ndarray:
    return np.concatenate([getattr(face, name).ravel() for face in result.faces] or [np.zeros(0)])


def compare(detector: Detector, clip: Path, count: int | None) -> dict[str, Any]:
    offline = list(detector.detect_video(clip) if count is None else detector.stream(FirstFrames(clip, count)))
    live: list[FrameResult] = []
    with FanOut({"kept": CallbackSink(lambda result, image: live.append(result))}, policy="wait") as sinks:
        with LiveRunner(detector, [sinks]) as runner:
            runner.add("clip", FirstFrames(clip, count))
            runner.run()
    alike = [told(result) for result in offline] == [told(result) for result in live]
    row: dict[str, Any] = {"frames": len(offline), "faces": sum(len(r.faces) for r in offline), "alike": alike}
    for name, attribute in (("worst", "probabilities"), ("worst_px", "landmarks")):
        pairs = [(numbers(a, attribute), numbers(b, attribute)) for a, b in zip(offline, live, strict=True) if alike]
        row[name] = max((float(np.abs(a - b).max(initial=0.0)) for a, b in pairs), default=None)
    return row


def videos(paths: list[Path]) -> list[Path]:
    found = [each for path in paths for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [path for path in found if path in paths or (path.is_file() and source_kind(path) == "video")]


def main() -> int:
    parser = parser_of(__doc__, model=True)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="a video, or a folder of videos")
    parser.add_argument("--frames", type=int, help="only so many frames of each clip")
    arguments = parser.parse_args()

    def body() -> int:
        clips = videos(arguments.clips)
        if not clips:
            raise InvalidInput(f"expected videos, got none in {', '.join(map(str, arguments.clips))}")
        rows: dict[str, dict[str, Any]] = {}
        with Detector(options_of(arguments)) as detector:
            for clip in clips:
                rows[clip.name] = row = compare(detector, clip, arguments.frames)
                print(f"{clip.name:32} {row['frames']:5} frames {row['faces']:5} faces  {row['worst']}", flush=True)
        differ = [name for name, row in rows.items() if not row["alike"] or (row["worst"] or 0.0) > MOST]
        worst = max((row["worst"] for row in rows.values() if row["worst"] is not None), default=None)
        frames = sum(row["frames"] for row in rows.values())
        finish({"worst": worst, "target": MOST, "frames": frames, "differ": differ, "clips": rows}, arguments.json)
        return int(bool(differ))

    return run("offline_live.py", body)


if __name__ == "__main__":
    sys.exit(main())
