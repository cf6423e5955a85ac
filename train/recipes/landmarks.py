"""Landmarks of faces that move as AUs say, drawn by the million: the ICT head's 68 vertices, projected.

No picture is rendered. People are the head's own identity modes and fits of it to the points that a model's FAN found
on real faces near rest, so that people's resting brows and lids, and FAN's habits with them, are in what is learned.
Acts are those of the renders (`choreography`). FAN's errors are those that it makes on renders, drawn whole; and where
lids come down, in a blink or a look down, its eyes sink as a whole, as on real faces they do (`LIDS_DOWN`). Points are
normalised on the eyes, so that brows, nose and mouth rise together then: no brow was raised, and that is to be learned.

With each face goes the reference that a runtime would have of that person: the same person at rest, seen with the same
bias of FAN, with less noise, since it stems from many frames, and in another pose; sometimes with a part of an act in
it, since nobody knows for sure when a face rests; sometimes not known at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.transforms.sequences import FLIP_68
from train.evaluation.references import CONTAMINATED, PART, normalised
from train.synthetic import choreography
from train.synthetic.artists import own_shapes
from train.synthetic.fit import fit_head
from train.synthetic.ict import AU_NUMBERS, Head, load_head
from train.synthetic.rigs import with_rigs

Floats = NDArray[np.float32]
ACT_FRAMES = 4
_AU25 = AU_NUMBERS.index(25)
CORNERS, UPPER_LIDS, LOWER_LIDS = [36, 39, 42, 45], [37, 38, 43, 44], [40, 41, 46, 47]
LIDS_DOWN = ((CORNERS, 0.5), (UPPER_LIDS, -0.6), (LOWER_LIDS, 0.8))
"""How much lower (negative: higher) than they are FAN sees parts of an eye that is shut, tenths of the eye distance, at
most. Against MediaPipe's points in blinks of two clips of faces (cap12_edit, cap13_edit2) it is 0.12 to 0.17, -0.17 to
-0.42 and 0.32 to 0.36 where the lids are half to nearly down; people differ in it (on the clip franck 0.27 to 0.38,
-0.15 to -0.27 and 0.42 to 0.62)."""
_LIP_GAP_FULL = 0.15
"""Lip gap in eye distances at which AU25 counts as full, as in `choreography.labels`."""


@dataclass(frozen=True)
class Spread:
    """How much what is drawn varies."""

    fitted: float = 0.65
    """Share of people who are fits to real faces; the others are draws of the identity modes."""
    modes_fitted: float = 0.25
    """Standard deviation of the identity modes added to a fit."""
    modes: float = 0.7
    """That of the others."""
    brow_cm: float = 0.07
    """That of the height at which both brows rest, and .7 of it that of their tilt."""
    turn_rad: tuple[float, float, float] = (0.12, 0.1, 0.0)
    """Pitch, yaw, roll on top of the act's, which are taken 1.15 times; roll leaves no trace after normalising."""
    distance_cm: tuple[float, float] = (30.0, 120.0)
    """Of the camera."""
    error: tuple[float, float] = (0.5, 1.2)
    """Factor on an error of FAN."""
    bias: float = 0.12
    """Standard deviation of a further displacement per point, tenths of the eye distance."""
    shared: float = 0.6
    """Share of the variance of FAN's errors that belongs to the person: it is in the reference, too."""
    sinking: tuple[float, float] = (0.0, 1.0)
    """Share of `LIDS_DOWN` that a person's eyes sink by, and how much of that each of its parts takes."""
    parts: tuple[float, float] = (0.6, 1.4)
    sway: float = 0.15
    """Standard deviation of the height of both eyes as a whole, in a frame, tenths of the eye distance."""
    settled: float = 0.4
    """Size of the reference's own errors over those of a single frame."""
    unknown: float = 0.3
    """Share of faces without a reference."""
    contaminated: float = CONTAMINATED
    """Share of references that hold a part of an act, in half of the cases of the act that is shown."""
    part: tuple[float, float] = PART
    """Of the act, there."""
    restless: float = 0.04
    """Standard deviation of every blendshape in a reference, its sign left out; and 2.5 times that of the lids."""
    turn_reference_rad: tuple[float, float, float] = (0.08, 0.1, 0.0)
    """Turn of the reference, on top of a random part of the shown one: a camera may stand to one side."""


def landmark_head(path: Path, modes: int = 50, rigs: Path | None = None) -> Head:
    """The ICT head (`ict_facekit_light.npz`) cut down to its 68 landmark vertices, nothing drawn; ``rigs``: folder of
    kept fields, where the shapes of the rigs beside that file are wanted behind its own (`train.synthetic.rigs`)."""
    head = load_head(path, modes)
    if rigs is not None:
        head = with_rigs(head, path.parent, rigs)
    marks = head.landmarks
    return Head(
        head.neutral[marks],
        head.identity[:, marks],
        head.shapes[:, marks],
        head.shape_names,
        np.empty((0, 3), np.int32),
        np.empty(0, np.uint8),
        head.vertex_material[marks],
        np.arange(len(marks)),
    )


def draw_acts(head: Head, count: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Frames of `count` acts: blendshape weights (4 * count, shapes), intensity (.., n) with NaN where masked, turn
    (.., 3)."""
    rng, matrix = np.random.default_rng([seed, 2]), head.au_matrix()
    acts = [choreography.act(head.shape_names, matrix, ACT_FRAMES, rng) for _ in range(count)]
    intensity = np.concatenate([np.where(act.mask, np.nan, act.intensity) for act in acts])
    weights, turn = (np.concatenate([getattr(act, name) for act in acts]) for name in ("weights", "turn"))
    return weights.astype(np.float32), intensity.astype(np.float32), turn.astype(np.float32)


def fit_people(head: Head, points: NDArray[np.float64]) -> Floats:
    """Points (m, 68, 2) px of faces near rest -> their shapes (m, 68, 3) cm about the origin."""
    people = np.array([fit_head(head, one).vertices for one in points], np.float32).reshape(-1, 68, 3)
    return people - people.mean(1, keepdims=True)


class LandmarkSampler:
    """Draws coordinates as FAN would give them, and what the AUs are.

    Args:
        head: of `landmark_head`.
        people: (m, 68, 3) float32 cm, shapes of real faces at rest; m may be 0.
        errors: (k, 68, 2) float32, FAN's coordinates minus the true ones, tenths of the eye distance.
        acts: of `draw_acts`.
    """

    def __init__(
        self,
        head: Head,
        people: Floats,
        errors: Floats,
        acts: tuple[Floats, Floats, Floats],
        spread: Spread = Spread(),
    ) -> None:
        if len(errors) == 0 or errors.shape[1:] != (68, 2):
            raise ValueError(f"errors: expected (k, 68, 2) with k > 0, got {errors.shape}")
        self.people, self.errors, self.spread = people, errors, spread
        self.weights, self.intensity, self.turn = acts
        self.neutral = head.neutral - head.neutral.mean(0)
        self.modes = head.identity.reshape(len(head.identity), -1)
        self.shapes = head.shapes.reshape(len(head.shapes), -1)
        self.lids, self.own = head.index("eyeBlink"), own_shapes(head.shape_names)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
        """Coordinates (count, 68, 2) in tenths of the eye distance; the person's reference (count, 68, 2), zeros where
        there is none; intensity (count, n) with NaN where not known."""
        spread = self.spread
        chosen = rng.integers(0, len(self.weights), count)
        rest = self._at_rest(rng, count)
        shape = rest + (self.weights[chosen] @ self.shapes).reshape(-1, 68, 3)
        turn = 1.15 * self.turn[chosen] + rng.normal(0, spread.turn_rad, (count, 3)).astype(np.float32)
        distance = rng.uniform(*spread.distance_cm, (count, 1)).astype(np.float32)
        true = project(shape, turn, distance)
        still = rest + (self._restless(rng, chosen) @ self.shapes).reshape(-1, 68, 3)
        aside = turn * rng.random((count, 1), np.float32)
        aside += rng.normal(0, spread.turn_reference_rad, (count, 3)).astype(np.float32)
        own = np.float32(spread.shared**0.5) * self._error(rng, count)
        rather = np.float32((1 - spread.shared) ** 0.5)
        quiet = project(still, aside, distance)
        down, less = (shut(face, project(rest, way, distance)) for face, way in ((true, turn), (quiet, aside)))
        sunk = self._sinking(rng, count)
        seen = true + own + rather * self._error(rng, count)
        reference = quiet + own + np.float32(rather * spread.settled) * self._error(rng, count)
        sway = np.float32(spread.sway) * rng.standard_normal((count, 1), np.float32)
        seen = sinking(seen, down, sunk, sway)
        reference = sinking(reference, less, sunk, np.zeros_like(sway))
        reference[rng.random(count) < spread.unknown] = 0
        flip = rng.random((count, 1, 1)) < 0.5
        seen, reference = (np.where(flip, mirrored(one), one) for one in (seen, reference))
        intensity = self.intensity[chosen].copy()
        gap = np.linalg.norm(true[:, [67, 66, 65]] - true[:, [61, 62, 63]], axis=2).mean(1) / 10
        known = ~np.isnan(intensity[:, _AU25])
        intensity[known, _AU25] = np.clip(gap[known] / _LIP_GAP_FULL, 0, 1)
        return seen, reference, intensity

    def disturb(self, rng: np.random.Generator, true: Floats, share: float = 1.0) -> Floats:
        """Coordinates (b, 68, 2) with errors; `share` of the usual ones."""
        return true + np.float32(share) * self._error(rng, len(true))

    def _error(self, rng: np.random.Generator, count: int) -> Floats:
        """(count, 68, 2): errors of FAN drawn whole, and a displacement of every point."""
        spread = self.spread
        factor = rng.uniform(*spread.error, (count, 1, 1)).astype(np.float32)
        error = self.errors[rng.integers(0, len(self.errors), count)] * factor
        return error + np.float32(spread.bias) * rng.standard_normal(error.shape, np.float32)

    def _sinking(self, rng: np.random.Generator, count: int) -> Floats:
        """(count, 3): what becomes of the parts of `LIDS_DOWN` in these people's shut eyes."""
        spread = self.spread
        most = np.array([amount for _, amount in LIDS_DOWN], np.float32)
        share = rng.uniform(*spread.sinking, (count, 1)) * rng.uniform(*spread.parts, (count, 3))
        return most * share.astype(np.float32)

    def _restless(self, rng: np.random.Generator, shown: NDArray[np.int64]) -> Floats:
        """Blendshape weights (b, shapes) of what passes for rest, of people who show the acts `shown` (b,)."""
        spread, count = self.spread, len(shown)
        weights = np.zeros((count, self.weights.shape[1]), np.float32)
        weights[:, : self.own] = np.abs(rng.normal(0, spread.restless, (count, self.own)))
        weights[:, self.lids] += np.abs(rng.normal(0, 2.5 * spread.restless, (count, 1))).astype(np.float32)
        other = rng.integers(0, len(self.weights), count)
        act = np.where(rng.random(count) < 0.5, shown, other)
        part = rng.uniform(*spread.part, count) * (rng.random(count) < spread.contaminated)
        return weights + self.weights[act] * part.astype(np.float32)[:, None]

    def _at_rest(self, rng: np.random.Generator, count: int) -> Floats:
        spread = self.spread
        fitted = rng.random(count) < (spread.fitted if len(self.people) else 0)
        size = np.where(fitted, spread.modes_fitted, spread.modes).astype(np.float32)
        modes = rng.standard_normal((count, len(self.modes)), np.float32) * size[:, None]
        shape = (modes @ self.modes).reshape(-1, 68, 3) + self.neutral
        if fitted.any():
            shape[fitted] += self.people[rng.integers(0, len(self.people), int(fitted.sum()))] - self.neutral
        height = spread.brow_cm * rng.standard_normal((count, 1), np.float32)
        tilt = 0.7 * spread.brow_cm * rng.standard_normal((count, 1), np.float32)
        along = np.linspace(-1, 1, 5, dtype=np.float32)
        shape[:, 17:22, 1] += height + tilt * along
        shape[:, 22:27, 1] += height - tilt * along
        return shape


def project(shape: Floats, turn: Floats, distance: Floats) -> Floats:
    """Coordinates (b, 68, 2) of shapes (b, 68, 3) cm turned by (b, 3) pitch, yaw, roll radians about the origin, for a
    camera (b, 1) cm before it."""
    pitch, yaw, roll = turn.T
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(*rows: Floats) -> Floats:
        return np.stack(rows, -1).reshape(-1, 3, 3)

    about_y = matrix(np.cos(yaw), zero, np.sin(yaw), zero, one, zero, -np.sin(yaw), zero, np.cos(yaw))
    about_x = matrix(one, zero, zero, zero, np.cos(pitch), -np.sin(pitch), zero, np.sin(pitch), np.cos(pitch))
    about_z = matrix(np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one)
    turned = shape @ (about_z @ about_x @ about_y).transpose(0, 2, 1)
    depth = distance - turned[..., 2]
    return normalised(np.stack((turned[..., 0] / depth, -turned[..., 1] / depth), -1))


def shut(coordinates: Floats, resting: Floats) -> Floats:
    """(b,) in [0, 1]: how far the lids of coordinates (b, 68, 2) are down, 1 being shut; `resting` (b, 68, 2) are those
    of the same faces at rest."""
    now, before = (one[:, LOWER_LIDS, 1].mean(1) - one[:, UPPER_LIDS, 1].mean(1) for one in (coordinates, resting))
    return np.clip(1 - now / np.maximum(before, 0.1), 0, 1)


def sinking(coordinates: Floats, down: Floats, amounts: Floats, sway: Floats) -> Floats:
    """Coordinates (b, 68, 2) as FAN sees them where lids are down.

    Args:
        down: (b,) of `shut`.
        amounts: (b, 3), by how much the parts of `LIDS_DOWN` sink in shut eyes, tenths of the eye distance.
        sway: (b, 1), by how much both eyes lie lower, whatever the lids do.
    """
    moved = coordinates.copy()
    for (points, _), amount in zip(LIDS_DOWN, amounts.T, strict=True):
        moved[:, points, 1] += (amount * down)[:, None] + sway
    return normalised(moved)


def mirrored(coordinates: Floats) -> Floats:
    """(..., 68, 2) of the face in a mirror."""
    return coordinates[..., FLIP_68, :] * np.array([-1, 1], np.float32)


__all__ = [
    "LIDS_DOWN", "LandmarkSampler", "Spread", "draw_acts", "fit_people", "landmark_head", "mirrored", "project", "shut",
    "sinking",
]  # fmt: skip
