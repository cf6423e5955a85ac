"""What is drawn at random once per sequence: shape, skin mix, light, mouth colours, background; and pictures that
hold no face.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from train.synthetic.ict import AU_NUMBERS, Head
from train.synthetic.render import Look, Person

SMOOTH_FACE, SMOOTH_AU = 0.35, 0.2
"""Shares of faces that move without any furrow, and of AUs that do so in the others."""
LINED_FACE = 0.35
"""Share of faces with permanent lines, half of LINES each."""
LINES = (1, 2, 4, 6, 7, 9, 10, 12, 15, 17)
"""AUs whose furrows stay in a face that rests, with age."""


@lru_cache(maxsize=1)
def _photographs() -> list[np.ndarray]:
    """Pictures without people that scikit-image's wheel carries (public domain or CC0), BGR.

    Raises:
        FileNotFoundError: one is missing. Without it the same seed would give another set.
    """
    from skimage import data

    names = (
        "coffee",
        "chelsea",
        "rocket",
        "brick",
        "grass",
        "gravel",
        "hubble_deep_field",
        "motorcycle_left",
        "coins",
        "page",
        "text",
        "moon",
        "horse",
        "immunohistochemistry",
    )
    found = []
    for name in names:
        try:
            picture = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
        except (OSError, ModuleNotFoundError) as error:  # it asks for pooch, to download what is not there
            raise FileNotFoundError(
                f"backgrounds: expected the picture {name} in the installed scikit-image, got: {error}; install the "
                "wheel that constraints.txt names"
            ) from error
        picture = np.asarray(picture)
        if picture.dtype == bool:
            picture = picture.astype(np.uint8) * 255
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        found.append(np.ascontiguousarray(picture[..., 2::-1]))
    return found


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) uint8 BGR: part of a photograph, more or less out of focus, or smooth colour noise."""
    if rng.random() < 0.5:
        cells = rng.integers(1, 12, 2)
        noise = rng.integers(0, 255, (*cells, 3)).astype(np.float32) * rng.uniform(0.2, 1) + rng.uniform(0, 120, 3)
        picture = cv2.resize(np.clip(noise, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        photos = _photographs()
        photo = photos[rng.integers(len(photos))]
        side = int(rng.uniform(0.3, 1.0) * min(photo.shape[:2]))
        y, x = rng.integers(0, photo.shape[0] - side + 1), rng.integers(0, photo.shape[1] - side + 1)
        picture = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
        picture = np.clip(picture.astype(np.float32) * rng.uniform(0.4, 1.2), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 5)) if rng.random() < 0.7 else picture


def no_face(people: Sequence[Person], size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) uint8 BGR without a face: a background, or a piece of clothing, hair or forehead from the edge
    of a portrait.
    """
    if rng.random() < 0.6:
        return background(size, rng)
    photo = people[int(rng.integers(len(people)))].photo
    side = int(rng.uniform(0.12, 0.22) * photo.shape[0])
    strip = photo[-int(0.22 * photo.shape[0]) :] if rng.random() < 0.7 else photo[: int(0.22 * photo.shape[0])]
    y, x = rng.integers(0, strip.shape[0] - side + 1), rng.integers(0, strip.shape[1] - side + 1)
    return cv2.resize(strip[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_CUBIC)


def draw_look(head: Head, people: Sequence[Person], rng: np.random.Generator, size: int) -> Look:
    """One sequence's look; ``people`` are those whose skin may be mixed in (of the same split)."""
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.35
    modes = rng.normal(0, 0.3, 35).astype(np.float32)
    mixed = rng.random() < 0.5
    tint = np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2) * rng.uniform(0.4, 1.15)
    ivory = np.array((178.0, 203.0, 214.0)) * rng.uniform(0.8, 1.12) + rng.normal(0, 6, 3)
    n_aus = len(AU_NUMBERS)
    gain = np.clip(rng.uniform(0.35, 1.3) * rng.uniform(0.7, 1.3, n_aus), 0, 1.5)
    gain *= (rng.random(n_aus) >= SMOOTH_AU) * (rng.random() >= SMOOTH_FACE)
    lines = np.zeros(n_aus)
    if rng.random() < LINED_FACE:
        lines = (
            rng.uniform(0.2, 1.0) * rng.uniform(0.4, 1, n_aus) * (rng.random(n_aus) < 0.5) * np.isin(AU_NUMBERS, LINES)
        )
    gums = np.array((78.0, 74.0, 140.0)) * rng.uniform(0.6, 1.2) + rng.normal(0, 8, 3)
    return Look(
        offset=np.tensordot(modes, head.identity[: len(modes)], 1),
        second=people[int(rng.integers(len(people)))] if mixed else None,
        mix=float(rng.uniform(0.25, 0.7)) if mixed else 0.0,
        light=light / np.linalg.norm(light),
        light_gain=float(rng.uniform(0.25, 0.8)),
        key_gain=float(rng.choice((0.0, rng.uniform(0.1, 0.9)))),
        tint=tint,
        furrow_gain=gain,
        teeth_bgr=np.clip(ivory, 90, 245),
        gums_bgr=np.clip(gums, 25, 200),
        background=background(size, rng),
        camera_cm=float(rng.uniform(35, 140)),
        lines=lines,
    )
