"""A source of the renders with six real people."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path


def six_people(corpus: Path, place: Path) -> Path:
    """Fill `place` with the head and six people of one group, with a neutral and a smiling photo each."""
    real = corpus / "portraits"
    (place / "ict_facekit_light.npz").symlink_to(corpus / "ict_facekit_light.npz")
    with (real / "london_info.csv").open(newline="") as handle:
        white = [row["face_id"] for row in csv.DictReader(handle) if row["face_eth"] == "white"]
    head, *rows = (real / "landmarks68.csv").read_text().splitlines()
    photos = {row.split(",")[0]: row for row in rows if row.startswith("london")}
    both = [name for name in white if sum(Path(photo).name.startswith(f"{name}_") for photo in photos) == 2][:6]
    kept = {photo: row for photo, row in photos.items() if Path(photo).name.split("_")[0] in both}
    for photo in kept:
        (place / "portraits" / photo).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real / photo, place / "portraits" / photo)
    (place / "portraits" / "landmarks68.csv").write_text("\n".join([head, *kept.values()]) + "\n")
    shutil.copy(real / "london_info.csv", place / "portraits")
    return place
