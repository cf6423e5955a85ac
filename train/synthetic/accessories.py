"""What people wear and do before their face: glasses, a beard, a hand. Drawn over a rendered frame, at its pixels.

Lengths are centimetres on the head (y up, z towards the camera); the caller says how a point of the head falls on the
picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from train.synthetic.hand_mesh import HandMesh, MeshHand, draw_mesh_hand

Projection = Callable[[np.ndarray], np.ndarray]
"""(n, 3) cm in the head's frame -> (n, 2) px of the picture that is drawn on."""


@dataclass(frozen=True)
class Glasses:
    """Sizes in cm; ``power``: 2 draws an ellipse, more a rounder rectangle."""

    half_width: float
    half_height: float
    power: float
    thickness_cm: float
    rim_bgr: np.ndarray
    lens_bgr: np.ndarray
    lens_alpha: float
    glare: float


@dataclass(frozen=True)
class Beard:
    """``density`` 0 to 1: stubble to full; ``reach``: up to which part of the cheek; ``moustache``: on the lip too."""

    density: float
    reach: float
    moustache: bool
    hair_bgr: np.ndarray
    seed: int


@dataclass(frozen=True)
class Hand:
    """Over the face in the frames where ``there``; ``target``: index of the point it lies on; ``angle``: where the
    fingers point, radians in the picture, y down; ``fan``: between the fingers.

    ``bend``: radians by which the fingers turn at their middle joints, seen from the camera; ``curls``: of each
    finger, 0 stretched, 1 folded so that its knuckle shows; ``spacing``: of the fingers at their roots, cm; ``apart``:
    how much further away the first finger is, cm, with the hollow of the hand between, of ``hollow`` times the skin's
    brightness; ``shade``: how dark the face is close to the hand and between its fingers, 0 to 1; ``creases``: how deep
    the folds over the joints are, 0 to 1; ``seed``: of the skin's mottling and of which finger lies over which.
    """

    there: np.ndarray  # (frames,) bool
    offset_cm: np.ndarray  # (frames, 2)
    target: int
    angle: float
    fan: float
    fingers: int
    size: float
    skin_gain: np.ndarray  # (3,) BGR
    bend: float
    curls: np.ndarray  # (4,)
    spacing: float
    apart: float
    hollow: float
    shade: float
    creases: float
    nails_bgr: np.ndarray  # (3,)
    seed: int


@dataclass(frozen=True)
class Extras:
    """Of one sequence."""

    glasses: Glasses | None = None
    beard: Beard | None = None
    hand: Hand | MeshHand | None = None


NOTHING = Extras()
HANDS = 0.3
"""share of the sequences in which a hand comes before the face"""
_NAILS_BGR = ((150.0, 160.0, 215.0), (60.0, 40.0, 170.0), (190.0, 195.0, 225.0))
_NAILS = (0.7, 0.1, 0.2)  # bare, painted, pale
_MESH_SHARE = 0.8
_HAND_TARGETS = (62, 66, 51, 57, 48, 54, 62, 66, 51, 57, 3, 13, 8, 33, 27, 36, 45)  # most lie on the mouth


def _draw_nails(rng: np.random.Generator) -> np.ndarray:
    colour: np.ndarray = rng.choice(_NAILS_BGR, p=_NAILS)
    return colour


def cheek_tone(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(3,) mean colour of patches of 9 px on both cheeks; ``picture`` (h, w, 3), ``points`` (68, 2) its pixels."""
    cheeks = points[[2, 31, 48, 14, 35, 54]].reshape(2, 3, 2).mean(1)
    patches = [picture[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] for x, y in cheeks]
    return np.asarray(np.mean([patch.mean((0, 1)) for patch in patches], 0))


def hand_on_photo(rng: np.random.Generator, mesh: HandMesh) -> MeshHand:
    """A hand for one still picture, mostly at the mouth."""
    return draw_mesh_hand(mesh, rng, np.ones(1, bool), _HAND_TARGETS, _draw_nails(rng))


def draw_extras(rng: np.random.Generator, frames: int, hands: float = HANDS, mesh: HandMesh | None = None) -> Extras:
    """Glasses on one face of eight, a beard on one of nine, a hand in this share of the sequences: four of five as a
    mesh where there is one, the others drawn.
    """
    glasses = beard = hand = None
    if rng.random() < 0.125:
        shade = rng.uniform(0, 1)
        glasses = Glasses(
            half_width=rng.uniform(2.2, 2.9),
            half_height=rng.uniform(1.4, 2.3),
            power=rng.uniform(2, 5),
            thickness_cm=rng.uniform(0.08, 0.35),
            rim_bgr=np.clip(rng.uniform(5, 60) + shade * rng.uniform(-30, 140, 3), 0, 230),
            lens_bgr=rng.uniform(0, 120, 3),
            lens_alpha=float(rng.choice((0.0, rng.uniform(0.02, 0.3)), p=(0.5, 0.5))),
            glare=float(rng.choice((0.0, rng.uniform(0.1, 0.5)), p=(0.6, 0.4))),
        )
    if rng.random() < 0.11:
        brown = np.array((25.0, 35.0, 50.0)) * rng.uniform(0.3, 2.2)
        beard = Beard(
            rng.uniform(0.25, 1.0), rng.uniform(0.15, 0.5), bool(rng.random() < 0.8), brown, int(rng.integers(2**31))
        )
    if rng.random() < hands:
        there = np.ones(frames, bool)
        if rng.random() < 0.6:  # comes or goes
            first = int(rng.integers(1, frames)) if frames > 1 else 0
            there = (np.arange(frames) >= first) == bool(rng.random() < 0.5)
        if mesh is not None and rng.random() < _MESH_SHARE:
            return Extras(glasses, beard, draw_mesh_hand(mesh, rng, there, _HAND_TARGETS, _draw_nails(rng)))
        curl = float(rng.choice((0.0, rng.uniform(0.2, 0.7))))
        curls = np.clip(curl + rng.normal(0, 0.08, 4), 0, 0.85)
        if rng.random() < 0.3:  # one finger stretched, the others folded: what lies between looks like a mouth
            curls = np.r_[rng.uniform(0, 0.25), rng.uniform(0.35, 0.8, 3)]
        hand = Hand(
            there,
            rng.normal(0, 1.3, 2) + np.cumsum(rng.normal(0, 0.4, (frames, 2)), axis=0),
            int(rng.choice(_HAND_TARGETS)),
            float(rng.choice((-1, 1)) * rng.uniform(0.1, 1.9) - np.pi / 2),
            rng.uniform(0.02, 0.22),
            int(rng.choice((1, 2, 3, 4), p=(0.1, 0.1, 0.15, 0.65))),
            rng.uniform(0.85, 1.15),
            np.clip(rng.uniform(0.75, 1.15) + rng.normal(0, 0.03, 3), 0.6, 1.25),
            bend=float(rng.choice((0.0, rng.normal(0, 0.7)))),
            curls=curls,
            spacing=rng.uniform(1.6, 2.2),
            apart=float(rng.choice((0.0, rng.uniform(0.3, 1.6)))),
            hollow=rng.uniform(0.05, 0.45),
            shade=rng.uniform(0.2, 0.85),
            creases=rng.uniform(0, 1),
            nails_bgr=_draw_nails(rng),
            seed=int(rng.integers(2**31)),
        )
    return Extras(glasses, beard, hand)


def put_on_glasses(image: np.ndarray, glasses: Glasses, marks: np.ndarray, project: Projection) -> None:
    """Draw into ``image`` (h, w, 3) float32 BGR; ``marks`` (68, 3) cm, the neutral points on the head."""
    centres = np.stack([marks[36:42].mean(0), marks[42:48].mean(0)])
    depth = max(float(marks[27:29, 2].max()), float(centres[:, 2].max()) + 1.0)
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    across = glasses.half_width * np.sign(c) * np.abs(c) ** (2 / glasses.power)
    along = glasses.half_height * np.sign(s) * np.abs(s) ** (2 / glasses.power)
    spread = np.abs(centres[1, 0] - centres[0, 0]) / 2 + 0.15
    middle = centres.mean(0)
    rims, inner, outer = [], [], []
    for side in (-1.0, 1.0):
        x = middle[0] + side * spread + across
        bow = depth - 0.05 * np.abs(x - middle[0]) ** 1.5
        rims.append(np.stack([x, middle[1] - 0.2 + along, bow], axis=1))
        inner.append((middle[0] + side * (spread - glasses.half_width), middle[1] + 0.25, depth))
        outer.append((middle[0] + side * (spread + glasses.half_width), middle[1] + 0.25, bow.min()))
    lines = [project(rim) for rim in rims]
    scale = float(np.linalg.norm(np.diff(project(np.array([(0, 0, depth), (1, 0, depth)])), axis=0)))
    layer = np.zeros(image.shape[:2], np.uint8)
    for number, line in enumerate(lines):
        lens = np.zeros_like(layer)
        cv2.fillPoly(lens, [line.round().astype(np.int32)], 255, cv2.LINE_AA)
        alpha = lens.astype(np.float32)[..., None] / 255
        image += alpha * glasses.lens_alpha * (glasses.lens_bgr.astype(np.float32) - image)
        if glasses.glare:
            y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
            centre = line.mean(0)
            stripe = np.exp(-((((x - centre[0]) + (y - centre[1]) * 0.7) / (0.6 * scale) - number * 0.3) ** 2))
            image += alpha * (glasses.glare * stripe)[..., None] * (235 - image)
    width = max(1, round(glasses.thickness_cm * scale))
    for line in lines:
        cv2.polylines(layer, [line.round().astype(np.int32)], True, 255, width, cv2.LINE_AA)
    bridge = project(np.array([inner[0], inner[1]]))
    cv2.polylines(layer, [bridge.round().astype(np.int32)], False, 255, width, cv2.LINE_AA)
    ears = marks[[0, 16]]
    order = np.argsort(ears[:, 0])
    view = project(np.array([outer[0], outer[1]]))
    for number, ear in enumerate(ears[order]):
        end = project(np.array([(ear[0], outer[number][1] + 0.2, ear[2])]))[0]
        away = (end[0] - view[number][0]) * (view[number][0] - view[1 - number][0])
        if away > 0:  # that temple stands free of the face
            cv2.polylines(
                layer, [np.stack([view[number], end]).round().astype(np.int32)], False, 255, width, cv2.LINE_AA
            )
    alpha = layer.astype(np.float32)[..., None] / 255
    image += alpha * (glasses.rim_bgr.astype(np.float32) - image)


def beard_map(shape: tuple[int, int], points: np.ndarray, beard: Beard) -> np.ndarray:
    """(h, w) float32 in [0, 1]: how much of the skin the hair hides; ``points`` (68, 2) in the photo's pixels."""
    rng = np.random.default_rng(beard.seed)
    eye = float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
    jaw = points[2:15]
    up = jaw + (points[[31, *range(31, 36), 35, 35]].mean(0) - jaw) * 0.02
    corners = points[[48, 54]]
    low = points[57] + (0, 0.12 * eye)
    left = points[48] + (points[2] - points[48]) * (1 - beard.reach)
    right = points[54] + (points[14] - points[54]) * (1 - beard.reach)
    outline = np.concatenate([up, [right, corners[1] + (0.06 * eye, 0), low, corners[0] - (0.06 * eye, 0), left]])
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1.0)
    if beard.moustache:
        lip = points[48:55] - (0, 0.015 * eye)
        nose = points[31:36][::-1] + (0, 0.06 * eye)
        cv2.fillPoly(mask, [np.concatenate([lip, nose]).round().astype(np.int32)], 1.0)
    cv2.fillPoly(mask, [points[48:60].round().astype(np.int32)], 0.0)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.05 * eye)
    hair = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 0.6, None, 2.2)
    hair = 0.5 + 0.25 * hair / max(float(hair.std()), 1e-6)
    grown: np.ndarray = soft * np.clip(beard.density * (0.35 + hair) - 0.15 * (1 - soft), 0, 0.95)
    return grown.astype(np.float32)


def lay_hand(
    image: np.ndarray, hand: Hand, frame: int, points: np.ndarray, px_per_cm: float, skin_bgr: np.ndarray
) -> np.ndarray:
    """Draw the hand of ``frame`` into ``image`` (h, w, 3) float32 BGR; ``points`` (68, 2) px.

    Returns:
        (68,) bool, the points that it hides.
    """
    hidden = np.zeros(len(points), bool)
    if not hand.there[frame]:
        return hidden
    unit = px_per_cm * hand.size
    tip = points[hand.target] + hand.offset_cm[frame] * px_per_cm
    pointing = np.array((np.cos(hand.angle), np.sin(hand.angle)))
    beside = np.array((-np.sin(hand.angle), np.cos(hand.angle)))
    knuckles = tip - unit * (1 - hand.curls[:2].min()) * 3.2 * pointing
    wrist = knuckles - unit * 7.5 * pointing
    skin = skin_bgr.astype(np.float32) * hand.skin_gain.astype(np.float32)
    covers = np.zeros(image.shape[:2], np.float32)
    rng = np.random.default_rng(hand.seed)
    noise = cv2.GaussianBlur(rng.standard_normal(image.shape[:2]).astype(np.float32), (0, 0), 0.2 * unit)
    mottled = noise * np.float32(0.025 / max(float(noise.std()), 1e-6))

    def lay(parts: list[tuple[np.ndarray, np.ndarray, float]], creases: list[float], nail: bool) -> None:
        """Rounded parts in one piece over what is there, with creases across the first at shares of its length."""
        ends = np.array([end for part in parts for end in part[:2]])
        margin = max(radius for _, _, radius in parts) + 1.5 * unit
        left, top = np.clip(ends.min(0) - margin, 0, image.shape[1::-1]).astype(int)
        right, bottom = np.clip(ends.max(0) + margin + 1, 0, image.shape[1::-1]).astype(int)
        if left >= right or top >= bottom:
            return
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        height = np.zeros(x.shape, np.float32)  # of the rounded surface, in radii
        gloss, folds = np.zeros_like(height), np.zeros_like(height)
        for number, (start, end, radius) in enumerate(parts):
            along = end - start
            length = max(float(np.linalg.norm(along)), 1e-3)
            share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length**2
            across = ((x - start[0]) * along[1] - (y - start[1]) * along[0]) / (length * radius)
            beyond = (share - np.clip(share, 0, 1)) * length / radius
            np.maximum(height, np.sqrt(np.clip(1 - across**2 - beyond**2, 0, None)), out=height)
            if number == 0:
                for crease in creases:
                    bow = (share - crease) * length - 0.12 * radius * across**2
                    folds += np.exp(-((bow / (0.07 * unit)) ** 2)) * (np.abs(across) < 0.75)
            if nail and number == len(parts) - 1:
                oval = ((share - 0.98) * length / (0.62 * radius)) ** 2 + (across / 0.55) ** 2
                gloss = np.clip(4 * (1 - oval), 0, 1)
        own = np.clip(height * 6, 0, 1)
        below = image[top:bottom, left:right]
        below *= (1 - hand.shade * cv2.GaussianBlur(own, (0, 0), 0.7 * unit) * (1 - own))[..., None]
        tone = (0.5 + 0.55 * height) * (1 + mottled[top:bottom, left:right] - 0.25 * hand.creases * folds)
        colour = skin * tone[..., None]
        colour += (0.35 * gloss * tone)[..., None] * (hand.nails_bgr.astype(np.float32) - colour)
        below += own[..., None] * (colour - below)
        np.maximum(covers[top:bottom, left:right], own, out=covers[top:bottom, left:right])

    palm = [(knuckles + s * 1.2 * unit * beside, wrist + s * 0.8 * unit * beside, 2.5 * unit) for s in (1, -1)]
    lay([*palm, (wrist, wrist - unit * 12 * pointing, 2.8 * unit)], [], False)
    reach = np.array((6.6, 7.4, 7.0, 5.6)) * (1 - hand.curls)
    bones = []
    for finger in range(hand.fingers):
        place = finger - (hand.fingers - 1) / 2
        turns = hand.angle + place * hand.fan + np.array((0.0, hand.bend))
        base = knuckles + beside * (place * hand.spacing - (finger == 0) * hand.apart) * unit
        joint = base + 0.55 * reach[finger] * unit * np.array((np.cos(turns[0]), np.sin(turns[0])))
        end = joint + 0.45 * reach[finger] * unit * np.array((np.cos(turns[1]), np.sin(turns[1])))
        bones.append((base, joint, end))
    if hand.apart and len(bones) > 1:
        between = np.stack([*bones[0], *bones[1][::-1]]).round().astype(np.int32)
        dark = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(dark, [between], 255, cv2.LINE_AA)
        cover = cv2.GaussianBlur(dark, (0, 0), 0.15 * unit).astype(np.float32) / 255
        image += cover[..., None] * (hand.hollow * skin - image)
        np.maximum(covers, cover, out=covers)
    for finger in rng.permutation(hand.fingers):
        base, joint, end = bones[finger]
        parts = [(base, joint, 0.9 * unit), (joint, end, 0.8 * unit)]
        lay(parts, [0.9, 1.0, 1.1], hand.curls[finger] < 0.3)

    column = np.clip(points.round().astype(int), 0, (image.shape[1] - 1, image.shape[0] - 1))
    hidden[:] = covers[column[:, 1], column[:, 0]] > 0.5
    return hidden


__all__ = ["NOTHING", "Extras", "beard_map", "cheek_tone", "draw_extras", "hand_on_photo", "lay_hand", "put_on_glasses"]
