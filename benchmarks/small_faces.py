"""From which size on a finder finds faces, and what a look costs.

    python benchmarks/small_faces.py PICTURES [--finder-model YUNET.onnx]

Portraits out of the folder PICTURES (and its subfolders) with one face each are shrunk until the longer side of the
face's box has each size, and put on a grey picture that the finder sees as it is. The cost is the time of this process
on the CPU (one thread), so that other work on the machine does not count. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import finish

from aunet_sdk.faces.finders.base import FaceFinder
from aunet_sdk.faces.finders.slime import SlimefaceFinder
from aunet_sdk.faces.finders.yunet import YuNetFinder
from aunet_sdk.faces.scan import regions_of, search_px

SIZES_PX = (12, 14, 16, 18, 20, 22, 24, 28, 32, 40)
FRAMES = ((640, 360), (1280, 720), (1920, 1080))


def portraits(folder: Path) -> list[tuple[np.ndarray, float]]:
    """Pictures with one face, and the longer side of its box, px."""
    found = []
    for file in sorted(folder.rglob("*.jpg")):
        picture = cv2.imread(str(file))
        faces = [] if picture is None else SlimefaceFinder().find(picture, 640)
        if len(faces) == 1 and max(faces[0].box[2:]) > 2 * max(SIZES_PX):
            found.append((picture, float(max(faces[0].box[2:]))))
    return found


def found_share(finder: FaceFinder, pictures: list[tuple[np.ndarray, float]], size_px: float) -> float:
    hits = 0
    for picture, face_px in pictures:
        scale = size_px / face_px
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:240, :320]
        canvas = np.full((240, 320, 3), 126, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        hits += any(max(face.box[2:]) > 0.6 * size_px for face in finder.find(canvas, 320))
    return hits / len(pictures)


def cost_ms(finder: FaceFinder, width: int, height: int, longer_side_px: int) -> float:
    picture = np.full((height, width, 3), 126, np.uint8)
    spent = []
    for _ in range(5):
        start_s = time.process_time()
        finder.find(picture, longer_side_px)
        spent.append(1e3 * (time.process_time() - start_s))
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of portraits")
    parser.add_argument("--finder-model", help="YuNet's .onnx file, to measure it too")
    given = parser.parse_args()
    finders: list[FaceFinder] = [SlimefaceFinder()]
    if given.finder_model:
        finders.append(YuNetFinder(given.finder_model))
    pictures = portraits(given.pictures)
    if not pictures:
        parser.error(f"no portrait with one face in {given.pictures}")
    figures: dict[str, Any] = {"portraits": len(pictures)}
    for finder in finders:
        shares = {size: round(found_share(finder, pictures, size), 3) for size in SIZES_PX}
        costs = {}
        for width, height in FRAMES:
            closer_px, regions = search_px(width, height, 24), len(regions_of(width, height, 24))
            costs[f"{width}x{height}"] = {
                "whole_frame_ms": round(cost_ms(finder, width, height, 320), 1),
                "closer_px": closer_px,
                "whole_frame_closer_ms": round(cost_ms(finder, width, height, closer_px), 1),
                "regions": regions,
                "region_ms": round(cost_ms(finder, 320, 240, 320), 1),
            }
        figures[finder.name] = {"found": shares, "cost": costs}
        print(finder.name, figures[finder.name])
    finish(figures)


if __name__ == "__main__":
    main()
