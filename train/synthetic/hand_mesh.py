"""A hand before the face as a skinned mesh: posed joint by joint, lit, with the dark of its hollows and its shadow.

The mesh is the ``generic-hand`` of the WebXR input profiles (npm package @webxr-input-profiles/assets, MIT); its joints
are those of the W3C WebXR Hand Input module, whose frames have -z along the bone and y out of the back of the hand.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from train.synthetic.native import load_raster

FINGERS = ("thumb", "index-finger", "middle-finger", "ring-finger", "pinky-finger")
_BONES = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
JOINTS = ("wrist", *(f"{f}-{b}" for f in FINGERS for b in _BONES if (f, b) != ("thumb", "phalanx-intermediate")))
_CHAINS = tuple(
    tuple(JOINTS.index(f"{f}-{b}") for b in _BONES if f"{f}-{b}" in JOINTS) for f in FINGERS
)  # wrist excluded
_DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_ARM_RINGS, _ARM_SIDES = 6, 20


@dataclass(frozen=True)
class HandMesh:
    """A right hand at rest, centimetres: vertices (n, 3) float32 with weights (n, 25) float32 of JOINTS, whose frames
    are bind (25, 4, 4) float64; triangles (t, 3) int32.
    """

    vertices: np.ndarray
    weights: np.ndarray
    bind: np.ndarray
    triangles: np.ndarray


def load_hand_mesh(path: Path) -> HandMesh:
    """Read a glTF binary (.glb) with one skinned mesh of the WebXR joints.

    Raises:
        FileNotFoundError, ValueError: no such file; not such a mesh.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"hand: expected {path} (docs/data.md, 'The training material', says where it is published)"
        )
    blob = path.read_bytes()
    try:
        magic, _, _ = struct.unpack_from("<4sII", blob)
        length, kind = struct.unpack_from("<I4s", blob, 12)
        if magic != b"glTF" or kind != b"JSON":
            raise ValueError("no glTF binary")
        tree = json.loads(blob[20 : 20 + length])
        data = blob[28 + length :]

        def read(number: int) -> np.ndarray:
            accessor = tree["accessors"][number]
            view = tree["bufferViews"][accessor["bufferView"]]
            width, dtype = _WIDTHS[accessor["type"]], _DTYPES[accessor["componentType"]]
            start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
            return np.frombuffer(data, dtype, accessor["count"] * width, start).reshape(-1, width)

        part, skin = tree["meshes"][0]["primitives"][0], tree["skins"][0]
        names = [tree["nodes"][node]["name"] for node in skin["joints"]]
        order = [names.index(joint) for joint in JOINTS]
        inverse = read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)[order]
        given = part["attributes"]
        positions, joints, shares = (read(given[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
        triangles = read(part["indices"]).reshape(-1, 3)
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise ValueError(
            f"{path}: expected a .glb with one hand skinned to the 25 WebXR joints, got {error}"
        ) from error
    weights = np.zeros((len(positions), len(names)), np.float32)
    for column in range(joints.shape[1]):
        weights[np.arange(len(weights)), joints[:, column]] += shares[:, column]
    # Vertices that differ in their texture coordinates alone are one, or the light would break at the seams.
    _, first, of = np.unique(positions.round(6), axis=0, return_index=True, return_inverse=True)
    bind = np.linalg.inv(inverse)
    bind[:, :3, 3] *= 100
    bind[:, :3, :3] /= np.linalg.norm(bind[:, :3, :3], axis=1, keepdims=True)
    return HandMesh(
        np.ascontiguousarray(positions[first] * np.float32(100)),
        np.ascontiguousarray(weights[first][:, order]),
        bind,
        np.ascontiguousarray(of.reshape(-1)[triangles].astype(np.int32)),
    )


def _turn(axis: int, angle: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.eye(3)[axis] * angle)[0]
    return matrix


def pose(mesh: HandMesh, bends: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bend the joints.

    Args:
        bends: (5, 3) radians towards the palm, thumb first, from the root of each finger to its last joint.
        spread: (5,) radians to the side at the root.

    Returns:
        vertices (n, 3) float32 cm, and joints (25, 4, 4) of the posed hand, in the frame of the mesh at rest.
    """
    posed = mesh.bind.copy()
    for finger, chain in enumerate(_CHAINS):
        moving = chain[:-1] if finger == 0 else chain[1:-1]  # the metacarpals of the four fingers stay
        for before, joint in zip((JOINTS.index("wrist"), *chain[:-1]), chain, strict=True):
            posed[joint] = posed[before] @ np.linalg.inv(mesh.bind[before]) @ mesh.bind[joint]
            if joint in moving:
                at = moving.index(joint)
                if at == 0:
                    posed[joint] = posed[joint] @ _turn(1, spread[finger])
                posed[joint] = posed[joint] @ _turn(0, -bends[finger, at])
    moves = posed @ np.linalg.inv(mesh.bind)
    mixed = np.tensordot(mesh.weights, moves, 1)
    whole = np.concatenate([mesh.vertices, np.ones((len(mesh.vertices), 1), np.float32)], axis=1)
    return np.einsum("nij,nj->ni", mixed[:, :3], whole).astype(np.float32), posed


@dataclass(frozen=True)
class MeshHand:
    """Over the face in the frames where ``there``; ``target``: index of the point it lies on; ``contact``: the joint
    that lies there; ``frame``: (3, 3) the hand's own axes (x across, y out of its back, z from the fingers to the
    wrist) in the picture's (x right, y up, z towards the camera); ``left``: mirrored.

    ``bends``, ``spread``: see `pose`; ``arm``: radians by which the arm leaves the wrist towards the back and to the
    side; ``sleeve_bgr``: of what the arm wears, None where it is bare; ``ambient``: share of the light that comes from
    everywhere; ``hollows``: how dark it is a centimetre deep between its parts, 0 to 1; ``shade``: how dark the face is
    close to it; ``gloss``: of the skin.
    """

    mesh: HandMesh
    there: np.ndarray  # (frames,) bool
    offset_cm: np.ndarray  # (frames, 2)
    target: int
    contact: int
    frame: np.ndarray
    left: bool
    size: float
    bends: np.ndarray
    spread: np.ndarray
    arm: np.ndarray  # (2,)
    skin_gain: np.ndarray  # (3,) BGR
    nails_bgr: np.ndarray  # (3,)
    sleeve_bgr: np.ndarray | None
    ambient: float
    hollows: float
    shade: float
    gloss: float
    seed: int


def draw_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bends (5, 3) and spread (5,) of a hand at a face: flat, loosely or wholly closed, pointing, or each finger in
    its own way.
    """
    closed = rng.choice((rng.uniform(0, 0.25), rng.uniform(0.25, 0.7), rng.uniform(0.7, 1.0)), p=(0.35, 0.4, 0.25))
    of = np.clip(closed + rng.normal(0, 0.06, 4) + np.linspace(0, rng.normal(0.05, 0.1), 4), 0, 1)
    kind = rng.random()
    if kind < 0.25:  # the first finger, or two, stretched along the face and the others closed
        of[: int(rng.integers(1, 3))] = rng.uniform(0, 0.3)
    elif kind < 0.4:
        of = rng.uniform(0, 1, 4)
    share = np.array((1.15, 1.6, 0.9)) * rng.uniform(0.75, 1.1, 3)
    bends = np.concatenate([rng.uniform(-0.2, 0.5, (1, 3)) + closed * 0.3, of[:, None] * share])
    spread = np.concatenate([rng.normal(0, 0.25, 1), rng.normal(0, 0.04, 4)])
    spread[1:] += np.linspace(1, -1, 4) * rng.uniform(-0.03, 0.2) * (1 - closed)
    return bends, spread


def draw_mesh_hand(
    mesh: HandMesh, rng: np.random.Generator, there: np.ndarray, targets: tuple[int, ...], nails: np.ndarray
) -> MeshHand:
    """A hand at random; ``there`` (frames,) bool, ``targets``: points that it may lie on, ``nails`` (3,) BGR."""
    bends, spread = draw_pose(rng)
    # Fingers point up, to the side, seldom down; mostly its back is to the camera, often its thumb side.
    pointing = rng.choice((-1, 1)) * rng.uniform(0.0, 1.9)
    roll = rng.uniform(-np.pi, np.pi) if rng.random() < 0.15 else rng.normal(0, 0.8)
    at_rest = np.array(((1, 0, 0), (0, 0, -1), (0, 1, 0)), float)  # columns: x right, back to the camera, wrist down
    frame = (
        cv2.Rodrigues(np.array((0, 0, pointing)))[0]
        @ cv2.Rodrigues(np.array((rng.normal(0.15, 0.35), 0, 0)))[0]
        @ cv2.Rodrigues(np.array((0, roll, 0)))[0]
        @ at_rest
    )
    contacts = [
        JOINTS.index(f"{f}-{b}") for f in FINGERS[1:4] for b in ("phalanx-intermediate", "phalanx-distal", "tip")
    ]
    contacts += [JOINTS.index(f"{f}-phalanx-proximal") for f in FINGERS[1:4]]
    frames = len(there)
    cloth = rng.uniform(0, 1) * np.array((200.0, 200.0, 200.0)) + rng.uniform(0, 70, 3)
    return MeshHand(
        mesh,
        there,
        rng.normal(0, 1.0, 2) + np.cumsum(rng.normal(0, 0.4, (frames, 2)), axis=0),
        int(rng.choice(targets)),
        int(rng.choice(contacts)),
        frame,
        bool(rng.random() < 0.5),
        rng.uniform(0.85, 1.1),
        bends,
        spread,
        rng.normal((0, 0), (0.5, 0.25)),
        np.clip(rng.uniform(0.8, 1.2) + rng.normal(0, 0.03, 3), 0.6, 1.3),
        nails,
        cloth if rng.random() < 0.4 else None,
        ambient=rng.uniform(0.35, 0.8),
        hollows=rng.uniform(0.25, 0.95),
        shade=rng.uniform(0.2, 0.8),
        gloss=float(rng.choice((0.0, rng.uniform(0.05, 0.4)))),
        seed=int(rng.integers(2**31)),
    )


def _arm(wrist: np.ndarray, bend: np.ndarray, sleeved: bool) -> tuple[np.ndarray, np.ndarray]:
    """A tube from the wrist on: vertices and triangles; ``wrist`` (4, 4) its frame, +z away from the fingers."""
    turned = wrist @ _turn(0, bend[0]) @ _turn(1, bend[1])
    along = np.linspace(0.0, 24.0, _ARM_RINGS) - 0.6
    wide = np.interp(along, (-0.6, 4, 24), (2.55, 2.7, 4.2)) + 0.6 * sleeved
    thick = np.interp(along, (-0.6, 4, 24), (1.75, 2.1, 3.6)) + 0.7 * sleeved
    if sleeved:
        along += 2.0
    angle = np.linspace(0, 2 * np.pi, _ARM_SIDES, endpoint=False)
    rings = np.stack(
        [
            np.outer(wide, np.cos(angle)),
            np.outer(thick, np.sin(angle)),
            np.repeat(along[:, None], _ARM_SIDES, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = rings @ turned[:3, :3].T + turned[:3, 3]
    ring, side = np.meshgrid(np.arange(_ARM_RINGS - 1), np.arange(_ARM_SIDES), indexing="ij")
    a, b = ring * _ARM_SIDES + side, ring * _ARM_SIDES + (side + 1) % _ARM_SIDES
    c, d = a + _ARM_SIDES, b + _ARM_SIDES
    triangles = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    return vertices.astype(np.float32), triangles.astype(np.int32)


def _colours(hand: MeshHand, skin: np.ndarray, normals_at_rest: np.ndarray) -> np.ndarray:
    """(n, 3) BGR of the hand's vertices: redder over the joints, the palm lighter, the nails."""
    weights = hand.mesh.weights
    rng = np.random.default_rng(hand.seed)
    colours = np.repeat(skin[None].astype(np.float32), len(weights), axis=0)
    wrist = hand.mesh.bind[JOINTS.index("wrist")]
    up = normals_at_rest @ wrist[:3, 1].astype(np.float32)
    dark = 1 - skin.mean() / 255
    colours *= (1 + np.clip(-up, 0, 1) * rng.uniform(0, 0.6) * dark)[:, None]
    joints = (1 - weights.max(1)) * 2
    colours *= 1 - joints[:, None] * rng.uniform(0, 0.3) * np.array((1.0, 0.8, 0.3), np.float32)
    colours *= 1 + rng.normal(0, 0.02, (len(colours), 1)).astype(np.float32)
    for chain in _CHAINS:
        last, tip = hand.mesh.bind[chain[-2]], hand.mesh.bind[chain[-1]]
        along = (
            (hand.mesh.vertices - last[:3, 3]) @ (tip[:3, 3] - last[:3, 3]) / np.sum((tip[:3, 3] - last[:3, 3]) ** 2)
        )
        own = weights[:, chain[-2:]].sum(1) > 0.6
        nail = own & (along > 0.35) & (normals_at_rest @ last[:3, 1] > 0.75)
        colours[nail] += 0.4 * (hand.nails_bgr.astype(np.float32) - colours[nail])
    return colours


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))


def _assemble(hand: MeshHand, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hand and arm in the picture's axes: xyz (n, 3) float32 cm from the contact, colours (n, 3) BGR, triangles."""
    at_rest = load_raster().vertex_normals(hand.mesh.vertices, hand.mesh.triangles)
    vertices, joints = pose(hand.mesh, hand.bends, hand.spread)
    wrist = joints[JOINTS.index("wrist")]
    arm, arm_triangles = _arm(wrist, hand.arm, hand.sleeve_bgr is not None)
    arm_colour = (skin if hand.sleeve_bgr is None else hand.sleeve_bgr).astype(np.float32)
    colours = np.concatenate([_colours(hand, skin, at_rest), np.repeat(arm_colour[None], len(arm), axis=0)])
    triangles = np.concatenate([hand.mesh.triangles, arm_triangles + len(vertices)])
    xyz = (np.concatenate([vertices, arm]) - joints[hand.contact, :3, 3]) @ wrist[:3, :3]  # in the hand's axes
    if hand.left:
        xyz, triangles = xyz * (-1, 1, 1), triangles[:, ::-1]
    turned = (xyz @ hand.frame.T * hand.size).astype(np.float32)
    return np.ascontiguousarray(turned), colours, np.ascontiguousarray(triangles)


def _hollows(depth: np.ndarray, unit: float) -> np.ndarray:
    """(h, w) cm: how much deeper than its parts around it, where the gaps between them are filled."""
    hollow = np.zeros_like(depth)
    for reach in (0.3, 0.8):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(reach * unit) + 1,) * 2)
        hollow = np.maximum(hollow, np.clip(cv2.morphologyEx(depth, cv2.MORPH_CLOSE, disc) - depth, 0, 1.5))
    return hollow


def lay_mesh_hand(
    image: np.ndarray,
    hand: MeshHand,
    frame: int,
    points: np.ndarray,
    px_per_cm: float,
    skin_bgr: np.ndarray,
    light: np.ndarray,
    camera_cm: float,
) -> np.ndarray:
    """Draw the hand of ``frame`` into ``image`` (h, w, 3) float32 BGR; ``points`` (68, 2) px; ``light`` (3,) unit
    vector towards the light, y up.

    Returns:
        (68,) bool, the points that it hides.
    """
    raster = load_raster()
    hidden = np.zeros(len(points), bool)
    if not hand.there[frame]:
        return hidden
    skin = skin_bgr.astype(np.float32) * hand.skin_gain.astype(np.float32)
    xyz, colours, triangles = _assemble(hand, skin)
    normals = raster.vertex_normals(xyz, triangles)
    near = camera_cm / np.clip(camera_cm - xyz[:, 2:], 0.3 * camera_cm, None)
    place = points[hand.target] + hand.offset_cm[frame] * px_per_cm
    drawn_xyz = np.concatenate([place + xyz[:, :2] * (1, -1) * near * px_per_cm, xyz[:, 2:]], axis=1, dtype=np.float32)
    lit = hand.ambient + (1 - hand.ambient) * np.clip(normals @ light.astype(np.float32), 0, None)
    lit /= hand.ambient + (1 - hand.ambient) * max(0.5, float(light[2]))  # what faces the camera is as light as a cheek
    half = light + (0, 0, 1)
    shine = np.clip(normals @ (half / np.linalg.norm(half)).astype(np.float32), 0, None) ** 24
    shown = (colours + 255 * hand.gloss * shine[:, None]) * lit[:, None]
    attributes = np.column_stack([shown, xyz[:, 2]]).astype(np.float32)
    height, width = image.shape[:2]
    drawn, index = raster.rasterise(drawn_xyz, np.ascontiguousarray(attributes), triangles, height, width)
    own = (index >= 0).astype(np.float32)
    if not own.any():
        return hidden
    unit = px_per_cm * hand.size
    hollow = _hollows(np.where(own > 0, drawn[..., 3], -camera_cm).astype(np.float32), unit)
    colour = drawn[..., :3] * np.exp(-2.0 * hand.hollows * _blur(hollow * own, 0.08 * unit))[..., None]
    noise = _blur(np.random.default_rng(hand.seed).standard_normal(own.shape).astype(np.float32), 0.15 * unit)
    colour *= (1 + noise * np.float32(0.02 / max(float(noise.std()), 1e-6)))[..., None]
    shift = np.array(((1, 0, -0.6 * unit * light[0]), (0, 1, 0.6 * unit * light[1])), np.float32)
    cast = cv2.warpAffine(_blur(own, 0.8 * unit), shift, (width, height))
    image *= (1 - hand.shade * np.maximum(cast, _blur(own, 0.5 * unit)))[..., None]
    # Its edge is soft: beyond it goes on in its own colours.
    beyond = _blur(colour * own[..., None], 1.0) / np.maximum(_blur(own, 1.0), 1e-3)[..., None]
    image += _blur(own, 0.7)[..., None] * (np.where(own[..., None] > 0, colour, beyond) - image)
    column = points.round().astype(int)
    inside = ((column >= 0) & (column < (width, height))).all(1)
    hidden[inside] = own[column[inside, 1], column[inside, 0]] > 0.5
    return hidden


__all__ = ["HandMesh", "MeshHand", "draw_mesh_hand", "draw_pose", "lay_mesh_hand", "load_hand_mesh", "pose"]
