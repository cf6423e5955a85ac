"""A contact sheet of a rendered set."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def contact_sheet(data: Path, out: Path, count: int, seed: int, points: bool) -> None:
    """Write ``count`` random sequences, one row of four frames each, two to a line, with the AUs that are on
    or between on and off (number and intensity; ? where nobody can tell).
    """
    about = json.loads((data / "dataset.json").read_text())
    rng = np.random.default_rng(seed)
    shards = sorted(p for p in (data / "shards").glob("[0-9]*.npz") if ".partial" not in p.name)
    if not shards:
        raise FileNotFoundError(
            f"{data}: expected rendered shards in shards/, found none; run `python -m train synthetic generate`"
        )
    lines = []
    for _ in range(count):
        with np.load(shards[rng.integers(len(shards))]) as shard:
            row = rng.integers(len(shard["images"]))
            images, marks, labels, intensity = (shard[k][row] for k in ("images", "points", "labels", "intensity"))
        tiles = []
        for f in range(len(images)):
            tile = cv2.resize(np.ascontiguousarray(images[f][..., ::-1]), (240, 240), interpolation=cv2.INTER_LINEAR)
            if points:
                for x, y in marks[f]:
                    cv2.circle(tile, (int(x * 240), int(y * 240)), 1, (0, 255, 0), -1)
            text = " ".join(
                f"{n}:?" if np.isnan(intensity[f, i]) else f"{n}:{intensity[f, i]:.1f}"
                for i, n in enumerate(about["au_numbers"])
                if np.isnan(labels[f, i]) or labels[f, i] == 1
            )
            cv2.putText(tile, text, (4, 234), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(tile, text, (4, 234), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
            tiles.append(tile)
        lines.append(np.hstack(tiles))
    half = -(-len(lines) // 2)
    lines += [np.zeros_like(lines[0])] * (2 * half - len(lines))
    cv2.imwrite(str(out), np.hstack([np.vstack(lines[:half]), np.vstack(lines[half:])]))
