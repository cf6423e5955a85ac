"""The portraits: files, 68 points, what is known of the people, the split by identity, and the cut-out behind the
head.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

EYE_DISTANCE_PX = 84.0  # the photo is scaled so that the eye centres are this far apart

CREDITS = (
    "Face Research Lab London Set, DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666.v5, CC-BY 4.0, modified",
    "Young Adult White Faces, DeBruine & Jones 2017, doi:10.6084/m9.figshare.4220517.v1, CC-BY 4.0, modified",
    "ICT-FaceKit, USC Institute for Creative Technologies, MIT",
)


@dataclass(frozen=True)
class Portrait:
    """One photo: ``path``, ``identity``, ``smiling``, ``points`` (68, 2) in the file's pixels."""

    path: Path
    identity: str
    smiling: bool
    points: np.ndarray

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo (h, w, 3) uint8 BGR and its points, both scaled to EYE_DISTANCE_PX."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f"portrait: cannot read {self.path}")
        eye = np.linalg.norm(self.points[36:42].mean(0) - self.points[42:48].mean(0))
        scale = float(EYE_DISTANCE_PX / eye)
        scaled = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        return scaled, (self.points + 0.5) * scale - 0.5


def read_portraits(root: Path) -> list[Portrait]:
    """All portraits listed in ``root/landmarks68.csv``; identities are ``london_001`` and ``canada_003f``."""
    table = root / "landmarks68.csv"
    if not table.is_file():
        raise FileNotFoundError(f"portraits: expected {table}")
    found = []
    with table.open(newline="") as handle:
        for row in list(csv.reader(handle))[1:]:
            folder, name = row[0].split("/")
            identity = f"london_{name.split('_')[0]}" if folder.startswith("london") else f"canada_{Path(name).stem}"
            found.append(
                Portrait(root / row[0], identity, "smiling" in folder, np.array(row[1:137], float).reshape(68, 2))
            )
    return found


def read_groups(root: Path) -> dict[str, dict[str, str]]:
    """identity -> {ethnicity, gender, age} from the sets' own tables (the Canadian set is white by its title)."""
    groups = {}
    for name, prefix in (("london_info.csv", "london_"), ("canada_info.csv", "canada_")):
        if (root / name).is_file():
            with (root / name).open(newline="") as handle:
                for row in csv.DictReader(handle):
                    groups[prefix + row["face_id"]] = {
                        "ethnicity": row.get("face_eth") or "white",
                        "gender": row["face_gender"],
                        "age": row["face_age"],
                    }
    return groups


def split_identities(identities: list[str], groups: dict[str, dict[str, str]], seed: int = 0) -> dict[str, list[str]]:
    """train / val / test by identity, about 66 / 10 / 24 per cent, drawn within each ethnic group so that every group
    is held out too.
    """
    rng = np.random.default_rng(seed)
    split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    by_group: dict[str, list[str]] = {}
    for identity in sorted(set(identities)):
        by_group.setdefault(groups.get(identity, {}).get("ethnicity", "unknown"), []).append(identity)
    for members in by_group.values():
        order = [members[i] for i in rng.permutation(len(members))]
        test, val = round(0.24 * len(order)), round(0.10 * len(order))
        split["test"] += order[:test]
        split["val"] += order[test : test + val]
        split["train"] += order[test + val :]
    return {name: sorted(members) for name, members in split.items()}


def cut_out(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Opacity (h, w) uint8 of the person before the plain studio background: GrabCut started from the distance to the
    border's colour, in Lab.
    """
    scale = 0.5
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32)
    h = small.shape[0]
    rows = np.linspace(0, 1, h)[:, None, None]
    left, right = lab[:, :6].mean(1, keepdims=True), lab[:, -6:].mean(1, keepdims=True)
    top = np.median(lab[: h // 12].reshape(-1, 3), axis=0)
    side = np.minimum(np.linalg.norm(lab - left, axis=2), np.linalg.norm(lab - right, axis=2))
    distance = np.where(
        rows[..., 0] < 0.45, np.minimum(side, np.linalg.norm(lab - top, axis=2)), np.linalg.norm(lab - top, axis=2)
    )
    mask = np.where(distance > 14, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    face = cv2.convexHull((points * scale).astype(np.int32))
    cv2.fillConvexPoly(mask, face, cv2.GC_FGD)
    mask[: max(2, h // 60)] = cv2.GC_BGD
    whole = (0, 0, small.shape[1], small.shape[0])  # not looked at: the mask rules
    cv2.grabCut(small, mask, whole, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, labels = cv2.connectedComponents(person)
    one = (labels == labels[tuple((points[30] * scale).astype(int)[::-1])]).astype(np.float32)
    soft = cv2.GaussianBlur(cv2.erode(one, np.ones((3, 3))), (0, 0), 1.0)
    return (cv2.resize(soft, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR) * 255).astype(np.uint8)
