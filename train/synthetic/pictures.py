"""Single pictures with one face each (folder `faces` of the source), and which of their AUs are sure.

`mediapipe.npz` holds MediaPipe's reading of each: points68 (n, 68, 2) px, blendshapes (n, 52), blendshape_names, path.
It stands in for a label where it is clear, for AU1, AU2, AU12, AU25, AU26 and AU45 alone; never for AU4: its
browDown fires on smiles. Pictures that were coded by eye (`coded_by_eye.csv`) are test material and left out here.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.sequences import DatasetError
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.photos import LIPS_APART, LIPS_SHUT, lip_gap

LOG = logging.getLogger("train")
ROLES = ("train", "fuse", "test")
CLEAR = {
    1: (("browInnerUp",), 0.1, 0.5),
    2: (("browOuterUpLeft", "browOuterUpRight"), 0.12, 0.45),
    12: (("mouthSmileLeft", "mouthSmileRight"), 0.1, 0.5),
    26: (("jawOpen",), 0.05, 0.3),
    45: (("eyeBlinkLeft", "eyeBlinkRight"), 0.2, 0.7),
}
"""AU -> blendshapes, whose mean is taken; up to where the AU is off, from where it is on."""
REST = {"browInnerUp": 0.25, "mouthSmileLeft": 0.15, "mouthSmileRight": 0.15, "jawOpen": 0.05, "mouthPucker": 0.6,
        "browOuterUpLeft": 0.25, "browOuterUpRight": 0.25, "mouthLowerDownLeft": 0.1, "mouthLowerDownRight": 0.1,
        }  # fmt: skip
"""Blendshapes up to these, and shut lips: a face near rest."""
OFF_AT_REST = (6, 9, 10, 14, 15, 17, 20, 23, 24)
"""AUs that are off in a face near rest. Not AU4, AU5 and AU7: MediaPipe does not tell."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """n pictures: `paths`; `points` (n, 68, 2) px; `labels` (n, n_aus) float32, 0, 1, NaN where not sure,
    in the order of `AU_NUMBERS`; `rest` (n,) bool:
    near rest."""

    paths: tuple[Path, ...]
    points: NDArray[np.float64]
    labels: NDArray[np.float32]
    rest: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, chosen: NDArray[np.bool_]) -> Pictures:
        """Those where `chosen` (n,) is true."""
        paths = tuple(path for path, keep in zip(self.paths, chosen, strict=True) if keep)
        return Pictures(paths, self.points[chosen], self.labels[chosen], self.rest[chosen])

    def load(self) -> tuple[Pictures, Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]]:
        """Those that can be read, and their pixels (h, w, 3) uint8 BGR with their points, one after the other."""
        readable = np.array([cv2.haveImageReader(str(path)) for path in self.paths], bool)
        for path in (path for path, good in zip(self.paths, readable, strict=True) if not good):
            LOG.warning("%s is missing or no picture; it is left out", path)
        kept = self.subset(readable)

        def read() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
            for path, points in zip(kept.paths, kept.points, strict=True):
                image = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if image is None:
                    raise DatasetError(f"pictures: {path} is damaged; mend it or remove it")
                yield image, points  # type: ignore[misc]

        return kept, read()


def role_of(path: str) -> str:
    """Who sees a picture: `train` a third, `fuse` a sixth, `test` half of them, by the hash of the path in `faces`."""
    digest = hashlib.sha256(path.encode()).digest()
    return "test" if digest[0] // 16 % 2 else "fuse" if digest[0] % 16 % 3 == 0 else "train"


def coded_by_eye(faces: Path) -> set[str]:
    """Paths in `faces` of the pictures that were coded by eye: test material."""
    if not (faces / "coded_by_eye.csv").is_file():
        return set()
    with (faces / "coded_by_eye.csv").open(newline="", encoding="utf-8") as handle:
        return {f"{row['source']}/{row['file']}" for row in csv.DictReader(handle)}


def read_pictures(faces: Path, role: str) -> Pictures:
    """The pictures of a role in the order of the table, without those that were coded by eye.

    Raises:
        FileNotFoundError: no mediapipe.npz in the folder.
        DatasetError: it lacks an array or a blendshape, or its arrays do not fit each other.
        ValueError: no such role.
    """
    if role not in ROLES:
        raise ValueError(f"role: expected one of {ROLES}, got {role!r}")
    table = faces / "mediapipe.npz"
    if not table.is_file():
        raise FileNotFoundError(f"pictures: expected {table}, found none; check --source")
    try:
        with np.load(table, allow_pickle=False) as data:
            paths = [str(path) for path in data["path"]]
            points, shapes = data["points68"].astype(np.float64), data["blendshapes"]
            names = [str(name) for name in data["blendshape_names"]]
        columns = {name: shapes[:, names.index(name)] for name in {*REST, *(n for c in CLEAR.values() for n in c[0])}}
        if not len(paths) == len(points) == len(shapes) or points.shape[1:] != (68, 2):
            raise ValueError(f"{len(paths)} paths, points {points.shape}, blendshapes {shapes.shape}")
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise DatasetError(f"pictures: {table} is not the table it should be: {error!r}") from error
    coded = coded_by_eye(faces)
    gaps = np.array([lip_gap(one) for one in points])
    rest = np.all([columns[name] <= most for name, most in REST.items()], axis=0) & (gaps < LIPS_SHUT)
    everything = Pictures(tuple(faces / path for path in paths), points, _labels(columns, gaps, rest), rest)
    return everything.subset(np.array([role_of(path) == role and path not in coded for path in paths], bool))


def _labels(
    columns: dict[str, NDArray[np.float32]], gaps: NDArray[np.float64], rest: NDArray[np.bool_]
) -> NDArray[np.float32]:
    labels = np.full((len(gaps), len(AU_NUMBERS)), np.nan, np.float32)
    for number, (names, off, on) in CLEAR.items():
        value = np.mean([columns[name] for name in names], axis=0)
        column = labels[:, AU_NUMBERS.index(number)]
        column[value <= off], column[value >= on] = 0, 1
    column = labels[:, AU_NUMBERS.index(25)]
    column[gaps < LIPS_SHUT], column[gaps > LIPS_APART] = 0, 1
    for number in OFF_AT_REST:
        labels[rest, AU_NUMBERS.index(number)] = 0
    return labels


__all__ = ["ROLES", "Pictures", "coded_by_eye", "read_pictures", "role_of"]
