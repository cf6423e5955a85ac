"""Pictures of the folder `faces` with a sure label (train.synthetic.pictures) as still sequences of a set, beside the
renders of their people: those of the train and the val split. Pictures for tests and pictures that were coded by eye
stay out of every set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from aunet_sdk.geometry import crop as alignment
from train.synthetic.crop import SIZE, STORED
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.photos import still
from train.synthetic.pictures import Pictures, read_pictures
from train.synthetic.strangers import SPLIT_OF, identity_of

ROLES = ("train", "fuse")
NOT_ON_STILLS = (1, 2)
"""AUs that are left open here. Looked at, the pictures on which MediaPipe's brows read highest (.36 to .79) mostly show
people whose brows lie high by themselves, or who look up: a still says nothing sure about them.
"""
_OPEN = np.isin(AU_NUMBERS, NOT_ON_STILLS)


def pictured_people(faces: Path) -> dict[str, str]:
    """identity -> split of the pictures that `picture_rows` gives; empty without a table of readings."""
    return {identity_of(path): SPLIT_OF[role] for role, part in _parts(faces) for path in part.paths}


def picture_rows(faces: Path) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """Still sequences, and whose they are. Their points are MediaPipe's; a face near rest is its own points at rest."""
    rows, identity = [], []
    for _, part in _parts(faces):
        kept, pixels = part.load()
        for path, labels, rest, (image, points) in zip(kept.paths, kept.labels, kept.rest, pixels, strict=True):
            crop, marks = _crop(image, points)
            rows.append(still(crop, marks, labels, points if rest else None))
            identity.append(identity_of(path))
    return rows, identity


def _parts(faces: Path) -> Iterator[tuple[str, Pictures]]:
    """Role and pictures with a label."""
    if not (faces / "mediapipe.npz").is_file():
        return
    for role in ROLES:
        part = read_pictures(faces, role)
        part.labels[:, _OPEN] = np.nan
        known = np.asarray(~np.isnan(part.labels)).any(axis=1)
        yield role, part.subset(np.asarray(known, bool))


def _crop(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2 * SIZE, 2 * SIZE, 3) uint8 BGR, the stored crop at twice its size, and the points (68, 2) in its pixels."""
    side = 2 * SIZE
    matrix = alignment.similarity(alignment.five_points(points), STORED * side - 0.5)
    crop = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, alignment.transform(matrix, points)


__all__ = ["picture_rows", "pictured_people"]
