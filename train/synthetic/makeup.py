"""What is done to skin before and after a picture is taken: make-up on the texture, a beauty filter on the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LIPSTICK_BGR = ((60.0, 40.0, 170.0), (95.0, 85.0, 190.0), (70.0, 30.0, 110.0), (130.0, 120.0, 200.0))
SHADOW_BGR = ((90.0, 80.0, 110.0), (120.0, 90.0, 60.0), (60.0, 70.0, 90.0), (150.0, 110.0, 140.0), (40.0, 40.0, 45.0))


@dataclass(frozen=True)
class MakeUp:
    """Opacities in [0, 1] and colours (3,) BGR. ``liner`` and ``brows`` darken, ``powder`` evens out the skin."""

    lips: float
    lips_bgr: np.ndarray
    shadow: float
    shadow_bgr: np.ndarray
    liner: float
    brows: float
    blush: float
    powder: float


def draw_make_up(rng: np.random.Generator) -> MakeUp:
    """Each part in half of the cases."""
    lips, shadow, liner, brows, blush, powder = rng.uniform(0.15, 0.85, 6) * (rng.random(6) < 0.5)
    lipstick, eyeshadow = LIPSTICK_BGR[rng.integers(len(LIPSTICK_BGR))], SHADOW_BGR[rng.integers(len(SHADOW_BGR))]
    return MakeUp(lips, np.array(lipstick), 0.6 * shadow, np.array(eyeshadow), liner, 0.8 * brows, 0.4 * blush, powder)


def put_on(photo: np.ndarray, points: np.ndarray, made: MakeUp) -> np.ndarray:
    """``photo`` (h, w, 3) uint8 BGR with make-up, a new array; ``points`` (68, 2) in its pixels."""
    eye = float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
    image = photo.astype(np.float32)
    if made.powder:
        even = cv2.bilateralFilter(photo, 9, 45.0, 0.05 * eye).astype(np.float32)
        image += made.powder * (even - image)

    def lay(mask: np.ndarray, blur: float, opacity: float, colour: np.ndarray) -> None:
        soft = cv2.GaussianBlur(mask, (0, 0), blur * eye)[..., None] * np.float32(opacity)
        image[:] += soft * (colour.astype(np.float32) * (0.35 + 0.65 * image.mean(2, keepdims=True) / 128) - image)

    def polygon(*outlines: np.ndarray) -> np.ndarray:
        mask = np.zeros(photo.shape[:2], np.float32)
        cv2.fillPoly(mask, [outline.round().astype(np.int32) for outline in outlines], 1.0)
        return mask

    if made.lips:
        mask = polygon(points[48:60]) - polygon(points[60:68])
        lay(np.clip(mask, 0, 1), 0.015, made.lips, made.lips_bgr)
    dark = np.array((15.0, 15.0, 20.0))
    for lid, brow in ((points[36:40], points[17:22]), (points[42:46], points[22:27])):
        if made.shadow:
            crease = lid + 0.55 * (np.interp(np.linspace(0, 1, 4), np.linspace(0, 1, 5), brow[:, 1]) - lid[:, 1])[
                :, None
            ] * (0, 1)
            lay(polygon(np.concatenate((lid, crease[::-1]))), 0.03, made.shadow, made.shadow_bgr)
        for line, opacity, width in ((lid, made.liner, 0.03), (brow, made.brows, 0.07)):
            if opacity:
                mask = np.zeros(photo.shape[:2], np.float32)
                thick = max(1, round(width * eye))
                cv2.polylines(mask, [line.round().astype(np.int32)], False, 1.0, thick, cv2.LINE_AA)
                lay(mask, 0.012, opacity, dark)
    if made.blush:
        for cheek in (points[[1, 2, 31, 36]].mean(0), points[[14, 15, 35, 45]].mean(0)):
            mask = np.zeros(photo.shape[:2], np.float32)
            cv2.circle(mask, tuple(cheek.round().astype(int).tolist()), max(1, int(0.28 * eye)), 1.0, -1)
            lay(mask, 0.15, made.blush, np.array((105.0, 90.0, 200.0)))
    return np.clip(image, 0, 255).astype(np.uint8)


def smooth(image: np.ndarray, strength: float) -> np.ndarray:
    """A beauty filter of ``strength`` in (0, 1] over a frame (h, w, 3) uint8: fine lines go, edges stay."""
    return cv2.bilateralFilter(image, 7, 15 + 50 * strength, 1.5 + 2.5 * strength)


__all__ = ["MakeUp", "draw_make_up", "put_on", "smooth"]
