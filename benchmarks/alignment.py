"""The alignment kernel beside the same work in OpenCV and NumPy, in one run on one thread.

    python benchmarks/alignment.py [--rounds 400] [--json FILE]

The work: a face crop (3, R, R) float32 RGB into a preallocated slot of a batch. OpenCV: warpAffine (bilinear),
cvtColor, astype and the transpose, without the factor 1/255 that the kernel applies as well. The two take turns, so
that a busy machine slows both; the ratio is that of the medians. Prints a table and, as the last line, one JSON object.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from common import finish, machine, medians, parser_of

from aunet_sdk.geometry import crop as alignment


def case(width: int, height: int, resolution: int, rounds: int) -> dict[str, float | int]:
    """One frame size and crop size: a face of 55 % of the frame's height, tilted by 8 degrees."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    scale = resolution / (0.55 * height)
    a, b = scale * np.cos(np.deg2rad(8)), scale * np.sin(np.deg2rad(8))
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0]])
    matrix[:, 2] = (resolution - 1) / 2 - matrix[:, :2] @ (width / 2, height / 2)
    by_opencv, by_kernel = np.empty((2, 3, resolution, resolution), np.float32)
    half, byte = np.empty((3, resolution, resolution), np.float16), np.empty((3, resolution, resolution), np.uint8)

    def opencv() -> None:
        crop = cv2.warpAffine(image, matrix, (resolution, resolution), flags=cv2.INTER_LINEAR)
        by_opencv[...] = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.float32).transpose(2, 0, 1)

    calls = [
        opencv,
        lambda: alignment.warp_crop(image, matrix, by_kernel),
        lambda: alignment.warp_crop(image, matrix, half),
        lambda: alignment.warp_crop(image, matrix, byte),
    ]
    opencv_us, kernel_us, half_us, byte_us = (1e6 * spent_s for spent_s in medians(calls, rounds))
    return {
        "width": width,
        "height": height,
        "resolution": resolution,
        "opencv_us": round(opencv_us, 1),
        "kernel_us": round(kernel_us, 1),
        "kernel_float16_us": round(half_us, 1),
        "kernel_uint8_us": round(byte_us, 1),
        "ratio": round(opencv_us / kernel_us, 2),
        "difference_levels": round(float(np.abs(by_opencv - 255 * by_kernel).max()), 2),
    }


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="turns of each (default: 400)")
    arguments = parser.parse_args()
    if arguments.rounds < 10:
        parser.error(f"--rounds: expected 10 or more, got {arguments.rounds}")
    cv2.setNumThreads(1)
    cases = [case(*size, side, arguments.rounds) for size in ((640, 360), (1280, 720)) for side in (128, 256)]
    print(
        f"{'frame':>10} {'crop':>5} {'OpenCV us':>10} {'kernel us':>10} {'ratio':>6} {'f16 us':>8} {'u8 us':>8}  levels"
    )
    for row in cases:
        frame = f"{row['width']}x{row['height']}"
        print(
            f"{frame:>10} {row['resolution']:>5} {row['opencv_us']:>10} {row['kernel_us']:>10} {row['ratio']:>6} "
            f"{row['kernel_float16_us']:>8} {row['kernel_uint8_us']:>8} {row['difference_levels']:>7}"
        )
    print("levels: largest difference of the two crops, grey levels of 255; OpenCV rounds to whole ones")
    figures = {
        "benchmark": "alignment",
        "native": alignment.NATIVE,
        "opencv": cv2.__version__,
        **machine(),
        "rounds": arguments.rounds,
        "ratio": min(row["ratio"] for row in cases),
        "cases": cases,
    }
    return finish(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
