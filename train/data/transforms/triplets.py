"""Augmentation of triplets, alike to the three frames of a sample (paper section V-B)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aunet_sdk._util.privacy import keep_private

WIDEST = 7
"""Pixels of the widest blur."""
MOST_HOLES = 8


class ContentDraw(NamedTuple):
    """One draw of what is done to the content of a sample's crops."""

    blur: NDArray[np.float32]
    """(WIDEST,) weights of the blur, along rows and along columns; 1 in the middle: none"""
    factors: NDArray[np.float32]
    """(3,) of brightness, contrast and saturation; 1: as it is"""
    order: NDArray[np.int64]
    """(3,) in which order these are applied"""
    quality: int
    """of JPEG; 0: not compressed"""
    holes: NDArray[np.int64]
    """(MOST_HOLES, 4) x0, y0, x1, y1 in px; holes of no size are none"""


@dataclasses.dataclass(frozen=True)
class TripletAugment:
    """What is done to a sample of the training, alike to its three frames; probabilities and ranges of the paper's
    section V-B, and of the authors' release where the paper gives none."""

    flip: float = 0.5
    rotation_deg: float = 15.0
    shift: float = 10 / 256
    """of the crop's side"""
    scale: float = 0.25
    """of the square's side: 0.75 to 1.25"""
    blur: float = 0.5
    jpeg: float = 0.5
    dropout: float = 0.5
    colour: float = 0.0
    """strength of a colour jitter; the paper has none, the release 0.3"""
    box_blur: bool = False
    """blur by a mean over a square, as the release does; the paper's is Gaussian"""

    def content(self) -> Any:
        """The albumentations pipeline over three pictures of one size, or None where nothing is asked for."""
        keep_private()  # or the library asks the package index for news
        import albumentations

        steps: list[Any] = []
        if self.blur > 0:
            kind = albumentations.Blur if self.box_blur else albumentations.GaussianBlur
            steps.append(kind(blur_limit=(3, 7), p=self.blur))
        if self.colour > 0:
            c = self.colour
            steps.append(albumentations.ColorJitter((1 - c, 1 + c), (1 - c, 1 + c), (1 - c, 1 + c), (0, 0), p=1.0))
        if self.jpeg > 0:
            steps.append(albumentations.ImageCompression(quality_range=(30, 100), p=self.jpeg))
        if self.dropout > 0:
            side = (1 / 32, 1 / 8)
            steps.append(
                albumentations.CoarseDropout(
                    num_holes_range=(1, 8), hole_height_range=side, hole_width_range=side, fill=0, p=self.dropout
                )
            )
        return albumentations.Compose(steps, additional_targets=dict.fromkeys(("former", "later"), "image"))

    def draw(self, rng: np.random.Generator, resolution: int) -> ContentDraw:
        """A draw of the content for a device that applies it itself: of the distributions of `content`, whose numbers
        come from a generator of its own."""
        kernel = np.zeros(WIDEST, np.float32)
        kernel[WIDEST // 2] = 1
        if rng.random() < self.blur:
            half = int(rng.integers(1, WIDEST // 2 + 1))
            place, sigma = np.arange(-half, half + 1), rng.uniform(0.5, 3.0)
            weights = np.ones(len(place)) if self.box_blur else np.exp(-0.5 * (place / sigma) ** 2)
            kernel[WIDEST // 2 - half : WIDEST // 2 + half + 1] = weights / weights.sum()
        factors = 1 + rng.uniform(-1, 1, 3) * self.colour
        order = rng.permutation(3)
        quality = int(rng.integers(30, 101)) if rng.random() < self.jpeg else 0
        holes = np.zeros((MOST_HOLES, 4), np.int64)
        if rng.random() < self.dropout:
            count = int(rng.integers(1, MOST_HOLES + 1))
            size = (resolution * rng.uniform(1 / 32, 1 / 8, (count, 2))).astype(np.int64)
            start = rng.integers(0, resolution - size + 1)
            holes[:count] = np.concatenate((start, start + size), 1)
        return ContentDraw(kernel, factors.astype(np.float32), order, quality, holes)

    def matrix(self, rng: np.random.Generator, resolution: int) -> NDArray[np.float64]:
        """A draw of the geometry but the flip: (2, 3), crop pixels to crop pixels."""
        angle = np.deg2rad(rng.uniform(-1, 1) * self.rotation_deg)
        grow = 1 / (1 + rng.uniform(-1, 1) * self.scale)
        shift = rng.uniform(-1, 1, 2) * self.shift * resolution
        linear = grow * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.full(2, (resolution - 1) / 2)
        return np.column_stack((linear, centre + shift - linear @ centre))


AUGMENTATIONS = {
    "paper": TripletAugment(),
    "release": TripletAugment(rotation_deg=13.5, shift=12.8 / 256, colour=0.3, box_blur=True),
}
"""By name. The released code turns 15 of 200 parts of half a turn, 13.5 degrees, and shifts by 10 px of a face of 200
px, which are 12.8 px of the crop."""
