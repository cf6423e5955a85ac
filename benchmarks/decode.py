"""Reading a video file: `VideoFile` (PyAV) beside OpenCV's reader, decoding and conversion to BGR, in one run.

    python benchmarks/decode.py [--rounds 12] [--frames 120] [--clip FILE] [--json FILE]

The clips: the sample's frames, scaled to 640x360 and 1920x1080 and encoded as H.264 (x264, medium, CRF 23), or FILE.
The two readers take turns over the whole clip, both with all cores, so that a busy machine slows both; the ratio is
that of the medians of wall time, over 1 where `VideoFile` is slower. Times of the processor, threads included, stand
beside it. The pictures of both are compared. Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np
from common import finish, machine, parser_of, run

from aunet_sdk.sources import VideoFile

SAMPLE = Path(__file__).parents[1] / "examples" / "sample.mp4"
SIZES = ((640, 360), (1920, 1080))


def encode(path: Path, size: tuple[int, int], count: int) -> Path:
    """The sample, there and back again, `count` frames in this size."""
    images = [frame.image for frame in VideoFile(SAMPLE)]
    images += images[::-1]
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=30, options={"crf": "23", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(count):
            image = cv2.resize(images[i % len(images)], size, interpolation=cv2.INTER_CUBIC)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = i
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def by_opencv(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    while True:
        ok, image = capture.read()
        if not ok:
            break
        yield image
    capture.release()


def by_file(path: Path, read_ahead: int) -> Iterator[np.ndarray]:
    with VideoFile(path, read_ahead) as video:
        for frame in video:
            yield frame.image


def case(path: Path, rounds: int) -> dict[str, Any]:
    readers = {
        "opencv": lambda: by_opencv(path),
        "pyav": lambda: by_file(path, 0),
        "pyav_ahead": lambda: by_file(path, 4),
    }
    wall: dict[str, list[float]] = {name: [] for name in readers}
    processor: dict[str, list[float]] = {name: [] for name in readers}
    frames = 0
    for turn in range(rounds + 1):  # the first one fills the caches
        for name, reader in readers.items():
            start_s, busy_s = time.perf_counter(), time.process_time()
            frames = sum(1 for _ in reader())
            if turn:
                wall[name].append(1e3 * (time.perf_counter() - start_s) / frames)
                processor[name].append(1e3 * (time.process_time() - busy_s) / frames)
    difference = max(
        int(np.abs(a.astype(int) - b).max()) for a, b in zip(by_opencv(path), by_file(path, 0), strict=True)
    )
    height, width = next(by_file(path, 0)).shape[:2]
    row: dict[str, Any] = {"clip": path.name, "width": width, "height": height, "frames": frames}
    for name in readers:
        row[f"{name}_ms"] = round(median(wall[name]), 3)
        row[f"{name}_processor_ms"] = round(median(processor[name]), 3)
    row["ratio"] = round(median(wall["pyav"]) / median(wall["opencv"]), 3)
    row["processor_ratio"] = round(median(processor["pyav"]) / median(processor["opencv"]), 3)
    row["ratio_ahead"] = round(median(wall["pyav_ahead"]) / median(wall["opencv"]), 3)
    return row | {"difference_levels": difference}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="turns of each reader (default: 12)")
    parser.add_argument("--frames", type=int, default=120, help="frames of a clip (default: 120)")
    parser.add_argument("--clip", type=Path, action="append", help="a video of your own; may be repeated")
    arguments = parser.parse_args()
    if arguments.rounds < 3 or arguments.frames < 10:
        parser.error("--rounds, --frames: expected 3 and 10 or more")
    with tempfile.TemporaryDirectory() as folder:
        clips = arguments.clip or [
            encode(Path(folder) / f"{size[0]}x{size[1]}.mp4", size, arguments.frames) for size in SIZES
        ]
        cases = [case(clip, arguments.rounds) for clip in clips]
    print(
        f"{'clip':>24} {'size':>10} {'OpenCV ms':>10} {'PyAV ms':>8} {'ratio':>6} {'ahead':>6} {'processor ms':>14} "
        " levels"
    )
    for row in cases:
        busy = f"{row['opencv_processor_ms']:.2f} {row['pyav_processor_ms']:.2f}"
        print(
            f"{row['clip'][:24]:>24} {row['width']}x{row['height']:<5} {row['opencv_ms']:>10} {row['pyav_ms']:>8} "
            f"{row['ratio']:>6} {row['ratio_ahead']:>6} {busy:>14} {row['difference_levels']:>7}"
        )
    print(
        "ratio: PyAV over OpenCV; ahead: with the thread that reads ahead; levels: largest difference of the pictures"
    )
    figures = {
        "benchmark": "decode",
        "av": av.__version__,
        "opencv": cv2.__version__,
        **machine(),
        "rounds": arguments.rounds,
        "ratio": max(row["ratio"] for row in cases),
        "cases": cases,
    }
    return finish(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(run("decode", main))
