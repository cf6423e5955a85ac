"""Augmentation of sequences: one geometric and one photometric draw per sequence, small independent ones per frame.

Paper section V-C augments the three frames of a sample alike. The independent rest stands for what a live system adds:
crops that are steered by the previous frame's points jitter a little from frame to frame.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FLIP_68 = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), *range(45, 41, -1), 47, 46,
        *range(39, 35, -1), 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
    ]
)  # fmt: skip
"""Point i of a mirrored face is point FLIP_68[i] of the face."""


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """Ranges and probabilities; lengths are fractions of the crop's side."""

    flip: float = 0.5
    rotation_deg: float = 15.0
    scale: float = 0.2
    shift: float = 0.08
    jitter_rotation_deg: float = 1.5
    jitter_scale: float = 0.02
    jitter_shift: float = 0.015
    warp: float = 0.016
    """Standard deviation of a smooth, nearly symmetric displacement, one per sequence: other proportions, as in
    another person."""
    photometric: float = 1.0
    """Factor on the probabilities of everything that changes colours; 0 leaves the pixels alone."""
    occlusion: float = 0.35
    """Probability of one to three boxes."""
    large_occlusion: float = 0.06
    """Probability of a box over half the crop."""


NO_AUGMENTATION = AugmentOptions(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class Augmented(NamedTuple):
    """``points`` (F, 68, 2) float32 in pixels of the crops; ``hidden`` (F, 68) bool: behind a box that was drawn."""

    points: NDArray[np.float32]
    hidden: NDArray[np.bool_]


def crop_matrix(
    resolution: int,
    size: int,
    margin: float,
    rotation_deg: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> NDArray[np.float64]:
    """Similarity (2, 3) from pixels of a stored image to pixels of the crop.

    Args:
        resolution: side of the crop, px.  size: side of the stored image, px.  margin: its side over the crop's.
        rotation_deg: about the centre, clockwise in the image.  scale: > 1 makes the face larger.
        shift: of the face, in sides of the crop.  flip: mirror left and right, before all else.
    """
    per_pixel = resolution * margin / size
    angle = np.deg2rad(rotation_deg)
    linear = scale * per_pixel * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if flip:
        linear[:, 0] *= -1
    centre_in = np.full(2, (size - 1) / 2)
    centre_out = (resolution - 1) / 2 + resolution * np.asarray(shift)
    return np.column_stack((linear, centre_out - linear @ centre_in))


class Augmenter:
    """Draws crops from stored sequences; all randomness comes from the generator that is passed in."""

    def __init__(self, resolution: int, size: int, margin: float, options: AugmentOptions | None = None) -> None:
        self.resolution, self.size, self.margin = resolution, size, margin
        self.options = options or AugmentOptions()
        noise = np.random.default_rng(0).standard_normal((2 * resolution, 2 * resolution, 3))
        self._noise = noise.astype(np.float32)

    def __call__(
        self,
        rng: np.random.Generator,
        images: NDArray[np.uint8],
        points: NDArray[np.float32],
        out: NDArray[np.uint8],
    ) -> Augmented:
        """Augment the frames of one sequence.

        Args:
            rng: source of all draws.
            images: (F, S, S, 3) uint8 RGB, stored frames.
            points: (F, 68, 2) normalised to the stored frame; NaN stays NaN.
            out: (F, R, R, 3) uint8, receives the crops.
        """
        o, resolution = self.options, self.resolution
        flip = bool(rng.random() < o.flip)
        rotation = rng.uniform(-1, 1) * o.rotation_deg
        log_scale = rng.uniform(-1, 1) * np.log1p(o.scale)
        shift = rng.uniform(-1, 1, 2) * o.shift
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
        crop: Any  # (R, R, 3) uint8; OpenCV's stubs know less
        look = _Look(rng, o, resolution) if o.photometric > 0 else None
        boxes = self._boxes(rng)
        bend = _bend(rng, resolution, o.warp) if o.warp > 0 else None
        moved = np.empty(points.shape, np.float32)
        for i in range(len(images)):
            jitter = rng.uniform(-1, 1, 4)
            matrix = crop_matrix(
                resolution,
                self.size,
                self.margin,
                rotation + jitter[0] * o.jitter_rotation_deg,
                float(np.exp(log_scale + jitter[1] * o.jitter_scale)),
                tuple(shift + jitter[2:] * o.jitter_shift),
                flip,
            )
            if bend is None:
                crop = cv2.warpAffine(
                    images[i], matrix, (resolution, resolution), flags=cv2.INTER_LINEAR, borderMode=border
                )
            else:
                back: Any = cv2.invertAffineTransform(matrix)
                source = (bend @ back[:, :2].T + back[:, 2]).astype(np.float32)
                crop = cv2.remap(images[i], source, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]
            for x0, y0, x1, y1, fill in boxes:
                crop[y0:y1, x0:x1] = fill if np.ndim(fill) == 1 else fill[: y1 - y0, : x1 - x0]
            out[i] = crop if look is None else look(rng, crop, self._noise)
            pixels = points[i] * self.size - 0.5
            if flip:
                pixels = pixels[FLIP_68]
            moved[i] = pixels @ matrix[:, :2].T + matrix[:, 2]
        if bend is not None:
            moved = _bent(moved, bend)
        hidden = np.zeros(moved.shape[:2], bool)
        for x0, y0, x1, y1, _ in boxes:
            hidden |= ((moved >= (x0, y0)) & (moved < (x1, y1))).all(2)
        return Augmented(moved, hidden)

    def _boxes(self, rng: np.random.Generator) -> list[tuple[int, int, int, int, NDArray[np.uint8]]]:
        boxes = []
        side = self.resolution
        draw = rng.random()
        if draw < self.options.large_occlusion:
            cut = int(rng.uniform(0.4, 0.6) * side)
            regions = [(0, 0, cut, side), (cut, 0, side, side), (0, cut, side, side), (0, 0, side, cut)]
            boxes.append(regions[rng.integers(4)])
        elif draw < self.options.large_occlusion + self.options.occlusion:
            for _ in range(rng.integers(1, 4)):
                w, h = rng.uniform(0.08, 0.35, 2) * side
                x, y = rng.uniform(-0.1, 0.9, 2) * side
                boxes.append((max(int(x), 0), max(int(y), 0), min(int(x + w), side), min(int(y + h), side)))
        filled = []
        for box in boxes:
            colour = rng.integers(0, 256, 3).astype(np.uint8)
            if rng.random() < 0.4:  # a texture instead of one colour: coarse noise, upsampled
                coarse: Any = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3)).astype(np.uint8)
                colour = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
            filled.append((*box, colour))
        return filled


def _bend(rng: np.random.Generator, side: int, deviation: float) -> NDArray[np.float32]:
    """(side, side, 2): where each pixel of the bent crop comes from in the straight one; a cubic surface through 5x5
    random displacements of standard deviation `deviation` * side, four fifths of it mirrored left and right."""
    free, half = rng.standard_normal((2, 5, 5, 2))
    mirrored = (half + half[:, ::-1] * (-1, 1)) / np.sqrt(2)
    coarse: Any = ((np.sqrt(0.2) * free + np.sqrt(0.8) * mirrored) * deviation * side).astype(np.float32)
    shift: Any = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    bent: NDArray[np.float32] = np.stack((x, y), 2) + shift
    return bent


def _bent(points: NDArray[np.float32], bend: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where points (..., 2) of the straight crop are in the bent one: its inverse, by fixed-point steps.

    Three of them leave up to half a pixel where the bend is strong.
    """
    flat = points.reshape(-1, 2)
    found = flat.copy()
    columns, rows = np.meshgrid(np.arange(bend.shape[1]), np.arange(bend.shape[0]))
    shift = bend - np.stack((columns, rows), 2).astype(np.float32)
    for _ in range(8):
        at = np.nan_to_num(found)[:, None]
        moved: Any = cv2.remap(shift, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        found = flat - moved.reshape(-1, 2)
    return found.reshape(points.shape)


class _Look:
    """The photometric draw of one sequence; called per frame, it varies a little."""

    def __init__(self, rng: np.random.Generator, options: AugmentOptions, resolution: int) -> None:
        p = options.photometric
        on = rng.random(8) < p * np.array([0.7, 0.7, 0.5, 0.12, 0.25, 0.25, 0.25, 0.5])
        self.gamma = float(np.exp(rng.uniform(-0.5, 0.5))) if on[0] else 1.0
        self.contrast, self.brightness = (rng.uniform(0.65, 1.3), rng.uniform(-35, 35)) if on[1] else (1.0, 0.0)
        self.cast = np.exp(rng.uniform(-0.15, 0.15, 3)) if on[2] else np.ones(3)
        self.grey = bool(on[3])
        self.blur = float(rng.uniform(0.4, 1.6)) * resolution / 128 if on[4] else 0.0
        self.shrunk = int(rng.uniform(0.3, 0.8) * resolution) if on[5] else 0
        self.quality = int(rng.uniform(30, 90)) if on[6] else 0
        self.noise = float(rng.uniform(1.0, 10.0)) if on[7] else 0.0

    def __call__(
        self, rng: np.random.Generator, crop: NDArray[np.uint8], noise: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        image: Any = crop
        side = image.shape[0]
        levels = np.arange(256, dtype=np.float32)[:, None] / 255
        flicker = rng.uniform(-1, 1, 2)
        table = 255 * levels ** (self.gamma * np.exp(0.03 * flicker[0])) * self.cast
        table = (table - 128) * self.contrast + 128 + self.brightness + 2 * flicker[1]
        image = cv2.LUT(image, np.clip(table + 0.5, 0, 255).astype(np.uint8)[None])
        if self.grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.shrunk:
            small = cv2.resize(image, (self.shrunk, self.shrunk), interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
        if self.noise:
            y, x = rng.integers(0, side, 2)
            image = cv2.addWeighted(image, 1.0, noise[y : y + side, x : x + side], self.noise, 0.0, dtype=cv2.CV_8U)
        if self.quality:
            code: Any
            _, code = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, self.quality))
            decoded: Any = cv2.imdecode(code, cv2.IMREAD_COLOR)
            image = decoded[..., ::-1]
        return image


def centre_crops(
    images: NDArray[np.uint8], points: NDArray[np.float32], resolution: int, margin: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The canonical crops in stored frames, without augmentation.

    Args:
        images: (F, S, S, 3) uint8 RGB.  points: (F, 68, 2) normalised to the stored frame.

    Returns:
        crops (F, R, R, 3) uint8, points (F, 68, 2) float32 in pixels of the crops.
    """
    size = images.shape[1]
    matrix = crop_matrix(resolution, size, margin)
    crops = [cv2.warpAffine(image, matrix, (resolution, resolution), flags=cv2.INTER_LINEAR) for image in images]
    moved = (points * size - 0.5) @ matrix[:, :2].T + matrix[:, 2]
    return np.stack(crops), moved.astype(np.float32)
