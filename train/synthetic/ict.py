"""The ICT-FaceKit light head (MIT, ICT-VGL/ICT-FaceKit): its mesh, its blendshapes, and how action units drive them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

AU_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 45)
"""The paper's 15, and AU5 (upper lid raiser), AU20 (lip stretcher) and AU45 (blink)."""

SKIN, TEETH, GUMS, SOCKET = 0, 1, 2, 3
_SOCKET_VERTICES = (11248, 13294)  # inner wall of the mouth
_GUMS_VERTICES = (14062, 17039)
_TEETH_VERTICES = (17039, 21451)
_DRAWN_VERTICES = 24591  # lashes, tear film and occlusion shells come after: not drawn
_DRAWN_MATERIALS = (
    "M_Face",
    "M_BackHead",
    "M_Teeth",
    "M_GumsTongue",
    "M_ScleraRight",
    "M_ScleraLeft",
    "M_IrisRight",
    "M_IrisLeft",
)

# Action unit -> (blendshape, weight at intensity 1). A name without _L or _R that exists only as a pair drives both
# sides.
AU_SHAPES: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("browInnerUp", 1.05),),
    2: (("browOuterUp", 0.95),),
    4: (("browDown", 1.15),),
    5: (("eyeWide", 1.2),),
    6: (("cheekSquint", 0.9), ("cheekRaiser", 0.5), ("eyeSquint", 0.3)),
    7: (("eyeSquint", 1.7), ("eyeBlink", 0.2)),
    9: (("noseSneer", 1.0), ("browDown", 0.25)),
    10: (("mouthUpperUp", 0.9),),
    12: (("mouthSmile", 0.9),),
    14: (("mouthDimple", 1.1),),
    15: (("mouthFrown", 1.2),),
    17: (("mouthShrugLower", 1.0), ("mouthShrugUpper", 0.6)),
    20: (("mouthStretch", 0.9),),
    23: (
        ("mouthPress", 0.9),
        ("mouthRollLower", 0.4),
        ("mouthRollUpper", 0.4),
        ("mouthPucker", 0.3),
        ("mouthShrugLower", 0.15),
    ),
    24: (("mouthPress", 1.6), ("mouthRollLower", 0.2), ("mouthRollUpper", 0.2), ("mouthShrugLower", 0.2)),
    25: (("mouthLowerDown", 0.7), ("mouthUpperUp", 0.3), ("jawOpen", 0.06)),
    26: (("jawOpen", 0.5), ("mouthLowerDown", 0.2)),
    45: (("eyeBlink", 1.0),),
}


@dataclass(frozen=True)
class Head:
    """The drawn part of the head, centimetres, y up, z towards the camera.

    neutral (n, 3); identity (m, n, 3); shapes (57, n, 3) with ``shape_names``; triangles (t, 3) int32; material (t,)
    uint8; landmarks (68,) vertex indices; all float32 but the indices.
    """

    neutral: np.ndarray
    identity: np.ndarray
    shapes: np.ndarray
    shape_names: tuple[str, ...]
    triangles: np.ndarray
    material: np.ndarray
    vertex_material: np.ndarray
    landmarks: np.ndarray

    def index(self, name: str) -> list[int]:
        """Positions of a blendshape: one, or the left and the right one."""
        if name in self.shape_names:
            return [self.shape_names.index(name)]
        return [self.shape_names.index(f"{name}_L"), self.shape_names.index(f"{name}_R")]

    def au_matrix(self) -> np.ndarray:
        """(n, 57) float32: blendshape weights of each AU at intensity 1."""
        matrix = np.zeros((len(AU_NUMBERS), len(self.shape_names)), np.float32)
        for row, number in enumerate(AU_NUMBERS):
            for name, weight in AU_SHAPES[number]:
                matrix[row, self.index(name)] += weight
        return matrix


def load_head(path: Path, modes: int = 50) -> Head:
    """Read ``ict_facekit_light.npz``: neutral, identity_modes, expressions, triangles, materials, landmarks."""
    if not path.is_file():
        raise FileNotFoundError(
            f"ICT head: expected {path} (docs/data.md, 'The training material', says where it is published)"
        )
    with np.load(path) as data:
        names = data["material_names"][data["triangle_material"]]
        triangles = data["triangles"]
        keep = np.isin(names, _DRAWN_MATERIALS) & (triangles.max(1) < _DRAWN_VERTICES)
        vertex_material = np.full(_DRAWN_VERTICES, SKIN, np.uint8)
        for kind, (low, high) in ((SOCKET, _SOCKET_VERTICES), (GUMS, _GUMS_VERTICES), (TEETH, _TEETH_VERTICES)):
            vertex_material[low:high] = kind
        triangles = np.ascontiguousarray(triangles[keep].astype(np.int32))
        n = _DRAWN_VERTICES
        return Head(
            neutral=data["neutral"][:n].astype(np.float32),
            identity=data["identity_modes"][:modes, :n].astype(np.float32),
            shapes=data["expressions"][:, :n].astype(np.float32),
            shape_names=tuple(str(x) for x in data["expression_names"]),
            triangles=triangles,
            material=vertex_material[triangles[:, 0]],
            vertex_material=vertex_material,
            landmarks=data["landmark_vertices"].astype(np.int64),
        )
