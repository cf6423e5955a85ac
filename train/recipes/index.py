"""Stage `index`: what the source holds, looked at once: people, pictures, and what is wrong with them."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from pathlib import Path

import cv2
import numpy as np

from train.data.corpora.corpus import named
from train.engine.run_folder import RunError, write_text
from train.synthetic.material import read_material
from train.synthetic.pictures import ROLES, read_pictures

LOG = logging.getLogger("train")
TABLES = ("ict_facekit_light.npz", "portraits/landmarks68.csv", "portraits/london_info.csv",
          "portraits/canada_info.csv", "faces/index.csv", "faces/mediapipe.npz", "faces/coded_by_eye.csv")  # fmt: skip


def source_facts(source: Path) -> dict[str, str]:
    """File -> SHA-256 of its tables, and one entry for the names and sizes of all pictures."""
    facts = {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in TABLES if (source / name).is_file()
    }
    digest = hashlib.sha256()
    for path in sorted(path for part in ("portraits", "faces") for path in (source / part).rglob("*.[jp][pn]g")):
        digest.update(f"{path.relative_to(source)} {path.stat().st_size}\n".encode())
    return {**facts, "pictures": digest.hexdigest()}


def write_index(source: Path, out: Path) -> Path:
    """Write `out`/index.json: splits, groups, how many pictures there are for which AU, and what was left out and why.

    Pictures that the index names and that are missing, that have no face or that are damaged are left out, named.

    Raises:
        RunError: a portrait is missing or damaged: its person stands in the tables of the set.
        FileNotFoundError, DatasetError, ValueError: a table is missing or not what it should be.
    """
    material = read_material(source)
    broken = [str(p.path) for p in material.portraits if not _readable(p.path)]
    if broken:
        raise RunError(
            f"index: {len(broken)} portraits are missing or damaged: {named(broken)}; mend them, or take their rows "
            "out of portraits/landmarks68.csv"
        )
    faces, left_out, pictures = source / "faces", {}, {}
    if (faces / "mediapipe.npz").is_file():
        for role in ROLES:
            part = read_pictures(faces, role)
            good = np.array([_readable(path) for path in part.paths], bool)
            for path in (path for path, kept in zip(part.paths, good, strict=True) if not kept):
                left_out[str(path.relative_to(faces))] = "damaged" if path.is_file() else "missing"
            labels = part.subset(good).labels
            pictures[role] = {
                "pictures": int(good.sum()),
                "on": (labels == 1).sum(0).tolist(),
                "off": (labels == 0).sum(0).tolist(),
            }
        left_out.update({name: "no face was found" for name in _without_face(faces)})
    for why in sorted(set(left_out.values())):
        names = [name for name, reason in left_out.items() if reason == why]
        LOG.warning("index: %d pictures left out, %s: %s", len(names), why, named(names))
    about = {
        "people": {split: sorted(members) for split, members in material.splits.items()},
        "groups": material.groups,
        "pictures": pictures,
        "left_out": left_out,
        "credits": material.credits,
    }
    path = out / "index.json"
    write_text(path, json.dumps(about, indent=1) + "\n")
    return path


def _without_face(faces: Path) -> list[str]:
    """Files of index.csv that the table of points does not have."""
    if not (faces / "index.csv").is_file():
        return []
    with np.load(faces / "mediapipe.npz", allow_pickle=False) as data:
        found = {str(path) for path in data["path"]}
    with (faces / "index.csv").open(newline="", encoding="utf-8") as handle:
        return [row["file"] for row in csv.DictReader(handle) if row["file"] not in found]


def _readable(path: Path) -> bool:
    return path.is_file() and cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8) is not None


__all__ = ["source_facts", "write_index"]
