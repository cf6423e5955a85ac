"""The crop that the set stores, and how long a sequence is."""

from __future__ import annotations

import numpy as np

from train.synthetic.render import Camera

TEMPLATE = np.array([(0.3583, 0.4066), (0.6417, 0.4066), (0.5, 0.5471), (0.3895, 0.7090), (0.6105, 0.7090)])
"""Where the five points lie in the canonical crop, of side 1."""
CROP_SCALE = 1.3736
SIZE, MARGIN, FRAMES, INTERVAL_S = 160, 1.25, 4, 0.4
CROP = Camera(SIZE, SIZE, TEMPLATE, MARGIN)
STORED = 0.5 + (TEMPLATE - 0.5) / MARGIN
"""Where they lie in what is stored: the canonical crop drawn out by MARGIN about its centre."""

__all__ = ["CROP", "CROP_SCALE", "FRAMES", "INTERVAL_S", "MARGIN", "SIZE", "STORED", "TEMPLATE"]
