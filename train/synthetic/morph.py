"""Photos of people who are not there: portraits of two people mixed, at rest, smiling and in between.

The portraits are few, and between a face whose mouth turns up by itself and a smile that hardly shows lies little. A
morph has a shape, S = N + f D: N mixes two people's neutral points and is exaggerated or softened about the mean face,
D mixes the way of their points from neutral to smiling, f is how much of it is gone. Its texture are one or two photos
bent to that shape by a thin-plate spline through the 68 points. Faint smiles take a neutral photo, whose lips stay
shut: their points move as the corners of the mouth and the line between the lips do. (Averaging and transforming
faces this way is what the London and Canadian portraits were made for: DeBruine, L. M., WebMorph.)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from aunet_sdk.geometry import crop as alignment
from train.synthetic.choreography import ROW
from train.synthetic.crop import SIZE, STORED
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.photos import LIPS_SHUT, chin_height, lip_gap, smile_labels, still
from train.synthetic.portraits import EYE_DISTANCE_PX, Portrait

MORPHS = 768
"""How many a set has."""
AT_REST, FAINT = 0.5, 0.2
"""Shares of faces at rest and of smiles with the lips shut; the others smile as the photos do."""
FAINT_FROM, FAINT_TO = 0.4, 0.9
"""How far the corners of the mouth go in a faint smile, the mean of all smiling photos being 1; AU12 counts as on."""
FURTHEST = 1.3
"""How far anybody's own way is followed beyond the photo: who hardly smiles on it is not made to grin."""
ROUGH_PX = 4.0
"""Spacing of the grid on which the spline is worked out."""
STIFFNESS = 1.0
"""px^2; how little the spline follows single points: theirs on the photos are good to a pixel or two."""
EYES_AT = np.array([(0.0, 0.0), (EYE_DISTANCE_PX, 0.0)])

# Columns of the mouth: corner, three between, corner. The points of a column move together when the lips stay shut.
_COLUMNS = (((61, 67), (49, 50, 58, 59, 61, 67)), ((62, 66), (51, 57, 62, 66)), ((63, 65), (52, 53, 55, 56, 63, 65)))
_JAW = np.arange(3, 14)


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo: ``image`` (h, w, 3) uint8 BGR, ``points`` (68, 2) its pixels, ``upright`` the same points where both
    eye centres are at EYES_AT.
    """

    image: np.ndarray
    points: np.ndarray
    upright: np.ndarray


@dataclass(frozen=True, eq=False)
class Pair:
    """A person at rest and, where there is a photo of it, smiling."""

    identity: str
    neutral: Photo
    smiling: Photo | None


def read_people(portraits: list[Portrait]) -> People:
    """Everybody with a neutral photo, in the order of the identities.

    Raises:
        ValueError: fewer than two people with both photos.
    """
    of: dict[tuple[str, bool], Photo] = {}
    for portrait in portraits:
        image, points = portrait.load()
        eyes = np.array([points[36:42].mean(0), points[42:48].mean(0)])
        upright = alignment.transform(alignment.similarity(eyes, EYES_AT), points)
        of[portrait.identity, portrait.smiling] = Photo(image, points, upright)
    names = sorted({name for name, smiling in of if not smiling})
    pairs = [Pair(name, of[name, False], of.get((name, True))) for name in names]
    ways = [pair.smiling.upright - pair.neutral.upright for pair in pairs if pair.smiling is not None]
    if len(ways) < 2:
        raise ValueError(
            f"morphs: expected two people or more with a neutral and a smiling photo, got {len(ways)}; "
            "--morphs 0 does without"
        )
    return People(pairs, np.mean([p.neutral.upright for p in pairs], axis=0), float(np.mean([reach(w) for w in ways])))


@dataclass(frozen=True, eq=False)
class People:
    """Those to mix; ``mean`` (68, 2) of their neutral points, upright; ``reach`` of their smiles, on average."""

    pairs: list[Pair]
    mean: np.ndarray
    reach: float


def shut(way: np.ndarray) -> np.ndarray:
    """The way to a smile, (68, 2), without the opening of lips and jaw: what a faint one with shut lips looks like."""
    closed = way.copy()
    for pair, column in _COLUMNS:
        closed[list(column)] = way[list(pair)].mean(0)
    closed[_JAW, 1] *= 0.2
    return closed


def reach(way: np.ndarray) -> float:
    """How far the corners of the mouth go on the way ``way`` (68, 2), in inter-ocular distances."""
    return float(np.linalg.norm(way[[48, 54]], axis=1).mean() / EYE_DISTANCE_PX)


def bend(photo: Photo, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``photo`` bent to ``shape`` (68, 2; upright frame) and cropped.

    Returns:
        (2 * SIZE, 2 * SIZE, 3) uint8 BGR, and the 68 points in it (px).
    """
    side = 2 * SIZE
    matrix = alignment.similarity(alignment.five_points(shape), STORED * side - 0.5)
    # The face's surroundings stay where they are: four points on each side of a frame around it.
    low, high = photo.upright.min(0) - EYE_DISTANCE_PX, photo.upright.max(0) + EYE_DISTANCE_PX
    along = np.linspace(0, 1, 5)[:-1]
    edge = [(t, 0) for t in along] + [(1, t) for t in along] + [(1 - t, 1) for t in along] + [(0, 1 - t) for t in along]
    frame = low + np.array(edge) * (high - low)
    spline = RBFInterpolator(
        np.concatenate((shape, frame)),
        np.concatenate((photo.upright - shape, np.zeros_like(frame))),
        kernel="thin_plate_spline",
        smoothing=STIFFNESS,
    )
    steps = np.arange(0, side + ROUGH_PX, ROUGH_PX)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    back = alignment.transform(cv2.invertAffineTransform(matrix), grid)
    to_photo = alignment.similarity(photo.upright, photo.points)
    rough = alignment.transform(to_photo, back + spline(back)).reshape(len(steps), len(steps), 2).astype(np.float32)
    x, y = np.meshgrid(*[np.arange(side, dtype=np.float32) / np.float32(ROUGH_PX)] * 2)
    where = cv2.remap(rough, x, y, cv2.INTER_LINEAR)
    crop = cv2.remap(photo.image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, alignment.transform(matrix, shape)


def _mixed(textures: list[Photo], shape: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """All of ``textures`` in one shape; the second counts for ``share``."""
    crop, marks = bend(textures[0], shape)
    if len(textures) > 1:
        crop = cv2.addWeighted(crop, 1 - share, bend(textures[1], shape)[0], share, 0)
    return crop, marks


def draw_morph(people: People, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], str]:
    """One still sequence, and whose texture it has."""
    pairs, mean = people.pairs, people.mean
    smiles = rng.random() >= AT_REST
    faint = smiles and rng.random() < FAINT / (1 - AT_REST)
    able = [pair for pair in pairs if pair.smiling is not None] if smiles else pairs
    first, second = (able[i] for i in rng.choice(len(able), 2, replace=len(able) < 2))
    share = float(rng.uniform(0, 0.6))
    at_rest = (1 - share) * first.neutral.upright + share * second.neutral.upright
    at_rest = mean + rng.uniform(0.8, 1.3) * (at_rest - mean)
    both = rng.random() < 0.3  # two textures: softer, as an average of faces is
    if not smiles:
        textures = [first.neutral, second.neutral] if both else [first.neutral]
        crop, marks = _mixed(textures, at_rest, share)
        return still(crop, marks, np.zeros(len(AU_NUMBERS), np.float32), at_rest), first.identity
    assert first.smiling is not None and second.smiling is not None
    way = (1 - share) * (first.smiling.upright - first.neutral.upright)
    way += share * (second.smiling.upright - second.neutral.upright)
    if faint:
        far = rng.uniform(FAINT_FROM, FAINT_TO) * people.reach / max(reach(way), 1e-6)
        shape = at_rest + min(far, FURTHEST) * shut(way)
        crop, marks = _mixed([first.neutral, second.neutral] if both else [first.neutral], shape, share)
        hard = smile_labels(shape, chin_height(at_rest))
        hard[ROW[25]] = 0 if lip_gap(at_rest) < LIPS_SHUT else np.nan  # the photo's lips, not the shape's
        return still(crop, marks, hard, at_rest), first.identity
    least = min(FAINT_FROM * people.reach / max(reach(way), 1e-6), 1.0)
    shape = at_rest + max(rng.uniform(0.6, 1.1), least) * way
    crop, marks = _mixed([first.smiling, second.smiling] if both else [first.smiling], shape, share)
    return still(crop, marks, smile_labels(shape, chin_height(at_rest)), at_rest), first.identity


def morph_rows(
    portraits: list[Portrait], count: int, rng: np.random.Generator
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """``count`` still sequences of people mixed from ``portraits``, and whose texture each has.

    Raises:
        ValueError: fewer than two people with both photos.
    """
    people = read_people(portraits)
    made = [draw_morph(people, rng) for _ in range(count)]
    return [row for row, _ in made], [name for _, name in made]


__all__ = ["MORPHS", "People", "Photo", "bend", "draw_morph", "morph_rows", "reach", "read_people", "shut"]
