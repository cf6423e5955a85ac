"""People beside the portraits: near-neutral frontal pictures of the folder `faces` (train.synthetic.pictures) as
textures.

Who is trained on goes by the role of the picture (`role_of`), so that nobody whose picture decides or tests is learned
from: `train` becomes the train split, `fuse` val, `test` test. Pictures that were coded by eye stay out, and those that
a look at contact sheets has thrown out (left_out.csv beside this file). What is known of the people is what the
pictures were made from: conditions such as "persian" or "elderly male".
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import cv2
import numpy as np

from train.data.corpora.corpus import named
from train.data.sequences import DatasetError
from train.synthetic.photos import lip_gap
from train.synthetic.pictures import coded_by_eye, role_of
from train.synthetic.portraits import Portrait

LOG = logging.getLogger("train")
SOURCES = ("sfhq_t2i",)
"""Photorealistic synthetic people. Official portraits are left out: they are of named people, most of whom smile."""
SPLIT_OF = {"train": "train", "fuse": "val", "test": "test"}
TEST_PEOPLE = 96
YAW_DEG, PITCH_DEG = 15.0, 18.0
LIPS_AT_REST = 0.045
"""Gap between the inner lips up to which a mouth is shut, inter-ocular distances; the points are good to .02."""
LEAST_EYE_PX = 36.0
"""Distance of the eye centres in the stored renders; smaller pictures would be blown up."""
ROOM = 1.5
"""Between the eyes and every edge of the picture, inter-ocular distances: less cuts the forehead off."""
AT_REST = {
    "mouthSmile": 0.2, "mouthFrown": 0.3, "mouthPress": 0.5, "mouthStretch": 0.4, "browOuterUp": 0.45,
    "browDown": 0.5, "eyeBlink": 0.4, "browInnerUp": 0.45, "jawOpen": 0.08, "mouthPucker": 0.6,
}  # fmt: skip
"""MediaPipe's blendshapes (left and right averaged) up to which a face counts as near neutral."""
_ETHNICITY = {
    "african": "black", "asian": "asian", "persian": "west_asian", "middle eastern": "west_asian", "irish": "white",
    "scandinavian": "white", "caucasian": "white", "hispanic": "latin", "south-american": "latin",
    "native american": "native_american",
}  # fmt: skip
_GENDER = {"female": "female", "girl": "female", "male": "male", "boy": "male", "beard": "male", "goatee": "male",
           "mustache": "male", "stubble": "male"}  # fmt: skip
_AGE = {"16 year": "16", "teenage": "16", "30 year": "30", "middle-aged": "50", "70 year": "70", "elderly": "70"}


def read_strangers(faces: Path) -> tuple[list[Portrait], dict[str, str], dict[str, dict[str, str]]]:
    """Portraits of the people, identity -> split, identity -> what is known; all empty without `faces`/index.csv.

    Files that the index names and that are missing or no pictures are logged and left out.

    Raises:
        DatasetError: index.csv or mediapipe.npz is not the table it should be.
    """
    if not (faces / "index.csv").is_file():
        return [], {}, {}
    rows, points, near = _read_tables(faces)
    left_out = coded_by_eye(faces) | _thrown_out()
    portraits: list[Portrait] = []
    splits: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {}
    missing = []
    for row, marks, calm in zip(rows, points, near, strict=True):
        if not calm or row["source"] not in SOURCES or row["file"] in left_out:
            continue
        split = SPLIT_OF[role_of(row["file"])]
        if split == "test" and sum(other == "test" for other in splits.values()) >= TEST_PEOPLE:
            continue
        path = faces / row["file"]
        if not cv2.haveImageReader(str(path)):
            missing.append(row["file"])
            continue
        identity = identity_of(path)
        portraits.append(Portrait(path, identity, False, marks, plain=False))
        splits[identity] = split
        groups[identity] = _known(row["condition"].lower())
    if missing:
        LOG.warning(
            "faces: %d pictures of the index are missing or damaged, left out: %s", len(missing), named(missing)
        )
    return portraits, splits, groups


def identity_of(path: Path) -> str:
    """Who is on a picture of the folder `faces`: one picture, one person."""
    return f"{path.parent.name}_{path.stem}"


def _thrown_out() -> set[str]:
    with Path(__file__).with_name("left_out.csv").open(newline="", encoding="utf-8") as handle:
        return {row["file"] for row in csv.DictReader(handle)}


def _known(condition: str) -> dict[str, str]:
    """ethnicity, gender, age as far as the words that a picture was made from tell."""

    def first(table: dict[str, str]) -> str:
        return next((value for word, value in table.items() if word in condition), "unknown")

    return {"ethnicity": first(_ETHNICITY), "gender": first(_GENDER), "age": first(_AGE)}


def _read_tables(faces: Path) -> tuple[list[dict[str, str]], np.ndarray, np.ndarray]:
    """Rows of the index, points (n, 68, 2) px, near rest and frontal (n,) bool."""
    try:
        with (faces / "index.csv").open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        with np.load(faces / "mediapipe.npz", allow_pickle=False) as data:
            place = {str(path): i for i, path in enumerate(data["path"])}
            points, shapes = data["points68"].astype(np.float64), data["blendshapes"]
            names = [str(name) for name in data["blendshape_names"]]
        rows = [row for row in rows if row["file"] in place]  # without: no face was found
        order = [place[row["file"]] for row in rows]
        points, shapes = points[order], shapes[order]
        turned = np.array([(float(row["yaw_deg"]), float(row["pitch_deg"])) for row in rows]).reshape(-1, 2)
        near = (np.abs(turned) <= (YAW_DEG, PITCH_DEG)).all(1)
        for name, most in AT_REST.items():
            columns = [i for i, full in enumerate(names) if full in (name, f"{name}Left", f"{name}Right")]
            near &= shapes[:, columns].mean(1) < most
    except (KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise DatasetError(f"faces: {faces}/index.csv and mediapipe.npz do not fit each other: {error!r}") from error
    eyes = np.linalg.norm(points[:, 36:42].mean(1) - points[:, 42:48].mean(1), axis=1)
    middle, size = points[:, 36:48].mean(1), np.array([(int(row["width"]), int(row["height"])) for row in rows])
    near &= np.minimum(middle, size.reshape(-1, 2) - middle).min(1) >= ROOM * eyes
    near &= (eyes >= LEAST_EYE_PX) & (np.array([lip_gap(one) for one in points]) < LIPS_AT_REST)
    return rows, points, near


__all__ = ["SPLIT_OF", "identity_of", "read_strangers"]
