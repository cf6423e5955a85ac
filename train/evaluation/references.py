"""Points of a person at rest as a runtime would know them: where they come from in a rendered set, and their unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.data.sequences import SequenceSet

Floats = NDArray[np.float32]
CONTAMINATED = 0.3
"""Share of references that hold a part of an act."""
PART = (0.1, 0.6)
"""Of the act, there."""


def normalised(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """(..., 68, 2) in any unit, y down -> tenths of the eye distance, as PointsHead normalises its points."""
    right, left = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    eye, moved = left - right, points - 0.5 * (left + right)[..., None, :]
    scale = 10.0 / np.maximum((eye**2).sum(-1), 1e-12)[..., None]
    u = (moved[..., 0] * eye[..., :1] + moved[..., 1] * eye[..., 1:]) * scale
    v = (moved[..., 1] * eye[..., :1] - moved[..., 0] * eye[..., 1:]) * scale
    return np.stack((u, v), -1).astype(np.float32)


def references(renders: SequenceSet, found: Floats, errors: Floats, rng: np.random.Generator) -> Floats:
    """A reference (N * F, 68, 2) for each frame of rendered sequences, zeros where the set does not say how the face
    looks at rest: that face turned somehow, with FAN's mean error in its sequence; in some a part of another frame."""
    if renders.rest is None:
        return np.zeros_like(found)
    return _references(renders.rest, found, errors, rng)


def references_of(rest: Floats, points: Floats, truth: Floats, rng: np.random.Generator) -> Floats:
    """`references` of points at rest (N, F, 68, 2), from what FAN found and what is true, (N * F, 68, 2) px each."""
    found = normalised(points)
    return _references(rest, found, found - normalised(truth), rng)


def _references(rest: Floats, found: Floats, errors: Floats, rng: np.random.Generator) -> Floats:
    frames = rest.shape[1]
    count, own = len(found), np.arange(len(found))
    mean = np.nan_to_num(errors.reshape(-1, frames, 68, 2).mean(1)).repeat(frames, 0)
    turned = rest.reshape(-1, frames, 68, 2)[own // frames, rng.integers(0, frames, count)]
    reference = turned + mean
    part = rng.uniform(*PART, count) * (rng.random(count) < CONTAMINATED)
    other = found[own // frames * frames + rng.integers(0, frames, count)]
    reference = reference + part[:, None, None].astype(np.float32) * (other - reference)
    return np.nan_to_num(reference).astype(np.float32)
