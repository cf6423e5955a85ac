"""Augmentation of triplets, alike to the three frames of a sample (paper section V-B)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aunet_sdk._util.privacy import keep_private


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
