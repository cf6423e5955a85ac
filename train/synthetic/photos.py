"""The portraits themselves as still sequences: what is known of their AUs, and hands laid over them."""

from __future__ import annotations

import cv2
import numpy as np

from aunet_sdk.geometry import crop as alignment
from train.data.visibility import not_shown
from train.synthetic import choreography
from train.synthetic.accessories import cheek_tone, hand_on_photo
from train.synthetic.crop import FRAMES, SIZE, STORED
from train.synthetic.hand_mesh import HandMesh, lay_mesh_hand
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.portraits import Portrait, tenths

JAW_SHUT = 0.031
"""Drop of the chin, in inter-ocular distances, up to which AU26 is off on a smiling photo: .15 of the .21 by which the
head's jaw drops at full strength. The jaw's points on the photos are good to about .03.
"""
PUPILS_CM = 6.3
"""between the pupils of an adult, as far as a photo's scale is concerned"""
LIPS_SHUT, LIPS_APART = 0.03, 0.06
"""Gap between the inner lips, in inter-ocular distances, below which AU25 is off and above which it is on."""


def chin_height(points: np.ndarray) -> float:
    """From the eyes down to the chin, in inter-ocular distances; ``points`` (68, 2) of one photo."""
    eye = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    down = (points[8] - points[27]) / np.linalg.norm(points[8] - points[27])
    return float((points[7:10].mean(0) - points[36:48].mean(0)) @ down / eye)


def lip_gap(points: np.ndarray) -> float:
    """Between the inner lips, in inter-ocular distances; ``points`` (68, 2) of one photo."""
    eye = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    return float(np.linalg.norm(points[[61, 62, 63]] - points[[67, 66, 65]], axis=1).mean() / eye)


def smile_labels(points: np.ndarray, chin_at_rest: float | None) -> np.ndarray:
    """(n,) float32 of a smiling photo: AU12 on and only what is sure besides, NaN for the others.

    Args:
        points: (68, 2), any unit.
        chin_at_rest: `chin_height` of the same person's neutral photo; None: not known, nor is AU26 then.
    """
    hard = np.full(len(AU_NUMBERS), np.nan, np.float32)
    gap = lip_gap(points)
    hard[choreography.ROW[12]] = 1
    hard[[choreography.ROW[n] for n in (4, 15)]] = 0
    if chin_at_rest is not None and chin_height(points) - chin_at_rest < JAW_SHUT:
        hard[choreography.ROW[26]] = 0
    if not LIPS_SHUT <= gap <= LIPS_APART:
        hard[choreography.ROW[25]] = float(gap > LIPS_APART)
    return hard


def still(
    crop: np.ndarray, marks: np.ndarray, hard: np.ndarray, rest: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """A sequence that does not move, of a crop (2 * SIZE, 2 * SIZE, 3) uint8 BGR; ``marks`` (68, 2) in its pixels;
    ``rest`` (68, 2): the same face at rest, in any unit."""
    small = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]
    points = ((marks + 0.5) / (2 * SIZE)).astype(np.float32)
    own = np.full((68, 2), np.nan, np.float32) if rest is None else tenths(rest)
    one = {"images": small, "points": points, "rest": own, "intensity": np.nan_to_num(hard), "labels": hard}
    return {k: np.repeat(v[None], FRAMES, axis=0) for k, v in one.items()}


def photo_rows(
    portraits: list[Portrait], mesh: HandMesh | None = None, rng: np.random.Generator | None = None
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The real photos as still sequences, and whose they are: neutral = every AU off; smiling as `smile_labels` says.
    With ``mesh`` and ``rng`` a hand lies over each, and AUs that only the hidden mouth would show are off.
    """
    rows, identity = [], []
    at_rest = {p.identity: p.points for p in portraits if not p.smiling}
    for portrait in portraits:
        image, points = portrait.load()
        matrix = alignment.similarity(alignment.five_points(points), STORED * SIZE * 2 - 0.5)
        crop = cv2.warpAffine(
            image, matrix, (SIZE * 2, SIZE * 2), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        marks = alignment.transform(matrix, points)
        hidden = np.zeros(len(points), bool)
        if mesh is not None and rng is not None:
            hidden = _lay_on_photo(crop, marks, mesh, rng)
        hard, calm = np.zeros(len(AU_NUMBERS), np.float32), at_rest.get(portrait.identity)
        if portrait.smiling:
            hard = smile_labels(portrait.points, None if calm is None else chin_height(calm))
        hard[not_shown(hidden, AU_NUMBERS)] = 0
        rows.append(still(crop, marks, hard, calm))
        identity.append(portrait.identity)
    return rows, identity


def _lay_on_photo(crop: np.ndarray, marks: np.ndarray, mesh: HandMesh, rng: np.random.Generator) -> np.ndarray:
    """Lay a hand over ``crop`` (h, w, 3) uint8 BGR in place; ``marks`` (68, 2) px.  Returns (68,) bool: hidden."""
    picture = crop.astype(np.float32)
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.6
    eye = float(np.linalg.norm(marks[36:42].mean(0) - marks[42:48].mean(0)))
    skin = cheek_tone(crop, marks)
    scale, light = eye / PUPILS_CM, light / np.linalg.norm(light)
    hidden = lay_mesh_hand(picture, hand_on_photo(rng, mesh), 0, marks, scale, skin, light, 90.0)
    crop[:] = np.clip(picture, 0, 255).astype(np.uint8)
    return hidden


__all__ = ["JAW_SHUT", "LIPS_SHUT", "chin_height", "lip_gap", "photo_rows", "smile_labels", "still"]
