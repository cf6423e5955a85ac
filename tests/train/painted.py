"""A source of the renders without any photo: a head of bumps on a curved sheet, and painted people."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from tests.train.shards import MARGIN, SIZE, draw, face_points
from train.synthetic import ict
from train.synthetic.ict import AU_SHAPES

SIDE = 150
_ONE_SIDED = ("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker",
              "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper")  # fmt: skip
_OTHERS = ("eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeLookDown", "eyeSquint", "cheekPuff")


def write_head(path: Path) -> None:
    """A file of the ICT head's form: its face is a sheet of 150 x 150 vertices, 20 cm wide, bent round the back."""
    marks = (face_points(np.zeros(15, np.float32)) - 0.5) * (1, -1) * 23  # cm; the eyes are 6.5 apart
    along = np.linspace(-10, 10, SIDE)
    x, y = np.meshgrid(along, along)
    sheet = np.stack((x, y, 6 - 0.03 * (x**2 + y**2)), 2).reshape(-1, 3)
    vertices = np.zeros((ict._DRAWN_VERTICES, 3), np.float32)
    vertices[: len(sheet)] = sheet
    cell = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (part.ravel() for part in (cell[:-1, :-1], cell[:-1, 1:], cell[1:, :-1], cell[1:, 1:]))
    triangles = np.concatenate((np.stack((a, b, c), 1), np.stack((b, d, c), 1)))
    nearest = [int(((sheet[:, :2] - mark) ** 2).sum(1).argmin()) for mark in marks]

    def bump(points: list[int], way: tuple[float, float, float]) -> np.ndarray:
        moved = np.zeros_like(vertices)
        distance = np.min([((sheet - sheet[nearest[p]]) ** 2).sum(1) for p in points], axis=0)
        moved[: len(sheet)] = np.exp(-distance / 2)[:, None] * np.array(way)
        return moved

    where = {"brow": [19, 24], "eye": [37, 38, 43, 44], "jaw": [6, 8, 10, 57], "nose": [30], "cheek": [31, 35]}
    names = sorted({n for shapes in AU_SHAPES.values() for n, _ in shapes} | {*_ONE_SIDED, *_OTHERS})
    full = [n for n in names if n in _ONE_SIDED] + [f"{n}_{s}" for n in names if n not in _ONE_SIDED for s in "LR"]
    rng = np.random.default_rng(0)
    shapes = []
    for name in sorted(full):
        points = next((p for part, p in where.items() if name.startswith(part)), [48, 54, 51, 57])
        points = [p for p in points if not name.endswith(("_L", "_R")) or (marks[p][0] > 0) == name.endswith("_L")]
        down = -1.0 if any(word in name for word in ("Down", "Open", "Blink", "Frown")) else 1.0
        shapes.append(bump(points or [30], (float(rng.normal(0, 0.2)), 0.6 * down, 0.1)))
    modes = [bump([int(p)], tuple(rng.normal(0, 0.4, 3))) for p in rng.integers(0, 68, 50)]
    np.savez_compressed(
        path, neutral=vertices, identity_modes=np.array(modes, np.float16), expressions=np.array(shapes, np.float16),
        expression_names=np.array(sorted(full)), triangles=triangles.astype(np.int32),
        triangle_material=np.zeros(len(triangles), np.int64), material_names=np.array(["M_Face"]),
        landmark_vertices=np.array(nearest),
    )  # fmt: skip


def painted_source(place: Path, people: int = 6) -> Path:
    """Fill `place` with such a head, and with painted neutral and smiling pictures of people of one group; in `faces`
    four more pictures with a table of readings."""
    place.mkdir(parents=True, exist_ok=True)
    write_head(place / "ict_facekit_light.npz")
    rows, rng = [], np.random.default_rng(3)
    for i in range(people):
        for folder, smile in (("london_neutral_front", 0.0), ("london_smiling_front", 1.0)):
            name = f"{folder}/{i:03d}_03.jpg"
            rows.append([name, *_paint(place / "portraits" / name, smile, rng).ravel().tolist()])
    with (place / "portraits" / "landmarks68.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["file", *range(136)], *rows])
    (place / "portraits" / "london_info.csv").write_text(
        "\n".join(["face_id,face_age,face_gender,face_eth", *(f"{i:03d},30,female,white" for i in range(people))])
        + "\n"
    )
    write_faces(place / "faces", rng)
    return place


def _paint(path: Path, smile: float, rng: np.random.Generator) -> np.ndarray:
    """Write a picture of 320 px; returns the points (68, 2) px."""
    intensity = np.zeros(15, np.float32)
    intensity[7] = smile
    shape = (face_points(intensity, rng.uniform(0.95, 1.05)) - 0.5) / MARGIN + 0.5
    image = cv2.resize(draw(shape, rng.integers(90, 220, 3), rng), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return shape * 2 * SIZE - 0.5


def write_faces(faces: Path, rng: np.random.Generator, count: int = 12) -> None:
    names = ["browInnerUp", "browOuterUpLeft", "browOuterUpRight", "mouthSmileLeft", "mouthSmileRight", "jawOpen",
             "mouthPucker", "mouthLowerDownLeft", "mouthLowerDownRight", "eyeBlinkLeft", "eyeBlinkRight",
             "mouthFrownLeft", "mouthPressLeft", "mouthStretchLeft", "browDownLeft"]  # fmt: skip
    shapes, points, paths = np.zeros((count, len(names)), np.float32), [], []
    for i in range(count):
        paths.append(f"interfaces/{i:03d}.jpg")
        smile = float(i % 2)
        points.append(_paint(faces / paths[-1], smile, rng))
        shapes[i, 3:5] = 0.8 * smile
        shapes[i, :3] = 0.7 * float(i % 3 == 0)
    np.savez(faces / "mediapipe.npz", path=np.array(paths), points68=np.array(points, np.float32), blendshapes=shapes,
             blendshape_names=np.array(names), matrix=np.zeros((count, 4, 4)))  # fmt: skip
    lines = [f"{path},interfaces,stock,none,320,320,100,0,0" for path in [*paths, "interfaces/gone.jpg"]]
    head = "file,source,kind,condition,width,height,outer_eye_distance_px,yaw_deg,pitch_deg"
    (faces / "index.csv").write_text("\n".join([head, *lines]) + "\n")
