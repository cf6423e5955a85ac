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
    """One photo: ``path``, ``identity``, ``smiling``, ``points`` (68, 2) in the file's pixels, ``plain``:
    taken before a plain studio background.
    """

    path: Path
    identity: str
    smiling: bool
    points: np.ndarray
    plain: bool = True

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


def skin_tone(photo: np.ndarray, points: np.ndarray) -> tuple[str, float]:
    """The individual typology angle of the cheeks (degrees), and light (over 41), medium (10 to 41) or dark. The whites
    of the eyes tell the light, roughly; what is left of it moves the angle.

    Args:
        photo: (h, w, 3) uint8 BGR.  points: (68, 2) its pixels.
    """
    cheeks = points[[2, 31, 48, 14, 35, 54]].reshape(2, 3, 2).mean(1)
    patches = [photo[max(0, int(y) - 5) : int(y) + 6, max(0, int(x) - 5) : int(x) + 6] for x, y in cheeks]
    pixels = np.concatenate([patch.reshape(-1, 3) for patch in patches]).astype(np.float32)
    eyes = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(eyes, [points[place].round().astype(np.int32) for place in (slice(36, 42), slice(42, 48))], 1)
    if eyes.any() and len(pixels):
        white = np.percentile(photo[eyes > 0], 90, axis=0)
        pixels = pixels * np.clip(150 / np.maximum(white, 1), 0.7, 1.5).astype(np.float32)
    lab = cv2.cvtColor(np.clip(pixels[None] / 255, 0, 1).astype(np.float32), cv2.COLOR_BGR2LAB)[0]
    lightness, _, yellow = np.median(lab, axis=0)
    angle = float(np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-3))))
    return ("light" if angle > 41 else "medium" if angle > 10 else "dark"), angle


def tenths(points: np.ndarray) -> np.ndarray:
    """(68, 2) float32 of points (68, 2), y down, with the eye centres brought to (-5, 0) and (5, 0)."""
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    (ex, ey), moved = left - right, points - 0.5 * (left + right)
    size = 10 / max(float(ex**2 + ey**2), 1e-12)
    turned = np.stack((moved[:, 0] * ex + moved[:, 1] * ey, moved[:, 1] * ex - moved[:, 0] * ey), 1)
    return (turned * size).astype(np.float32)


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
    return _grown(image, small, mask, points, scale)


def cut_out_anywhere(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Opacity (h, w) uint8 of the person before any background: GrabCut started from where a head and its shoulders
    are; towards the picture's edges it fades out.
    """
    scale = 0.33
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    h, w = small.shape[:2]
    p = points * scale
    eye = float(np.linalg.norm(p[36:42].mean(0) - p[42:48].mean(0)))
    middle, chin = p[36:48].mean(0), p[8]
    mask = np.full((h, w), cv2.GC_PR_BGD, np.uint8)
    wide = int(1.15 * np.linalg.norm(p[16] - p[0]) / 2)
    tall = int(chin[1] - middle[1])
    cv2.ellipse(
        mask,
        (int(middle[0]), int(middle[1] - 0.35 * tall)),
        (int(1.2 * wide), int(1.5 * tall)),
        0,
        0,
        360,
        cv2.GC_PR_FGD,
        -1,
    )
    neck = np.array([p[4], p[12], (p[12][0] + 1.2 * eye, h), (p[4][0] - 1.2 * eye, h)], np.int32)
    cv2.fillPoly(mask, [neck], cv2.GC_PR_FGD)
    edge = max(2, int(0.1 * eye))
    for side in (mask[: int(chin[1]), :edge], mask[: int(chin[1]), w - edge :], mask[:edge]):
        side[:] = cv2.GC_BGD
    cv2.fillConvexPoly(mask, cv2.convexHull(p.astype(np.int32)), cv2.GC_FGD)
    found = _grown(image, small, mask, points, scale)
    inside = np.zeros(found.shape, np.uint8)
    inside[1:-1, 1:-1] = 1
    fade = np.clip(cv2.distanceTransform(inside, cv2.DIST_L2, 3) / 10, 0, 1)
    return (found * fade).astype(np.uint8)


def _grown(image: np.ndarray, small: np.ndarray, mask: np.ndarray, points: np.ndarray, scale: float) -> np.ndarray:
    """What GrabCut makes of ``mask`` over ``small``, at the size of ``image``, softened."""
    whole = (0, 0, small.shape[1], small.shape[0])  # not looked at: the mask rules
    cv2.grabCut(small, mask, whole, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, labels = cv2.connectedComponents(person)
    one = (labels == labels[tuple((points[30] * scale).astype(int)[::-1])]).astype(np.float32)
    soft = cv2.GaussianBlur(cv2.erode(one, np.ones((3, 3))), (0, 0), 1.0)
    return (cv2.resize(soft, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR) * 255).astype(np.uint8)
