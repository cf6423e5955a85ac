"""A small synthetic set in the documented on-disk format: cartoon faces that AU1, AU12 and AU26 move."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.models.config import AU_NUMBERS, TEMPLATE

SIZE, MARGIN, FRAMES = 160, 1.25, 4
AU1, AU12, AU26 = AU_NUMBERS.index(1), AU_NUMBERS.index(12), AU_NUMBERS.index(26)


def face_points(intensity: NDArray[np.float32], wide: float = 1.0) -> NDArray[np.float64]:
    """68 points (68, 2), normalised to the canonical crop, of a cartoon face with AU intensities (15,)."""
    brow, smile, jaw = intensity[AU1], intensity[AU12], intensity[AU26]
    angles = np.linspace(np.pi, 0, 17)
    points = np.empty((68, 2))
    points[:17] = np.stack((0.5 + 0.33 * np.cos(angles), 0.45 + (0.42 + 0.06 * jaw) * np.sin(angles)), 1)
    right = np.linspace(0.25, 0.44, 5)
    height = 0.30 - 0.05 * brow - 0.02 * np.sin(np.linspace(0, np.pi, 5))
    points[17:22] = np.stack((right, height), 1)
    points[22:27] = np.stack((1 - right[::-1], height), 1)
    points[27:31] = np.stack((np.full(4, 0.5), np.linspace(0.40, 0.547, 4)), 1)
    points[31:36] = np.stack((np.linspace(0.44, 0.56, 5), 0.58 + 0.01 * np.sin(np.linspace(0, np.pi, 5))), 1)
    ring = np.deg2rad([180, 240, 300, 0, 60, 120])
    for start, (x, y) in ((36, TEMPLATE[0]), (42, TEMPLATE[1])):
        points[start : start + 6] = np.stack((x + 0.055 * np.cos(ring), y + 0.025 * np.sin(ring)), 1)
    for start, count, grow in ((48, 12, 1.0), (60, 8, 0.6)):
        turn = np.pi + 2 * np.pi * np.arange(count) / count
        x, y = np.cos(turn), np.sin(turn)
        half_width = 0.11 + 0.03 * smile
        half_height = 0.03 + np.where(y > 0, 0.09, 0.01) * jaw
        lift = -0.04 * smile * x**2
        points[start : start + count] = np.stack(
            (0.5 + grow * half_width * x, 0.709 + grow * half_height * y + lift), 1
        )
    points[:, 0] = 0.5 + (points[:, 0] - 0.5) * wide
    return points


def draw(points: NDArray[np.float64], skin: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A stored image (160, 160, 3) of points that are normalised to it."""
    image = np.full((SIZE, SIZE, 3), rng.integers(0, 256, 3), np.uint8)
    pixels = np.round((points * SIZE - 0.5) * 16).astype(np.int32)
    outline = np.concatenate((pixels[:17], [[pixels[16, 0], pixels[16, 1] - 900], [pixels[0, 0], pixels[0, 1] - 900]]))
    cv2.fillPoly(image, [outline], skin.tolist(), cv2.LINE_AA, 4)
    dark = (skin * 0.4).tolist()
    for part, closed in ((slice(17, 22), 0), (slice(22, 27), 0), (slice(27, 31), 0), (slice(31, 36), 0)):
        cv2.polylines(image, [pixels[part]], bool(closed), dark, 2, cv2.LINE_AA, 4)
    for part, colour in (
        ((36, 42), (240, 240, 240)),
        ((42, 48), (240, 240, 240)),
        ((48, 60), (170, 60, 70)),
        ((60, 68), (40, 10, 10)),
    ):
        cv2.fillPoly(image, [pixels[part[0] : part[1]]], colour, cv2.LINE_AA, 4)
    return image


def write_set(
    folder: Path, sequences: int = 48, shards: int = 2, identities: int = 12, seed: int = 0, photos: bool = True
) -> Path:
    """Write a set; one sequence in six is a negative, one a photograph; the last six identities are val and test."""
    rng = np.random.default_rng(seed)
    names = [f"id{i:03d}" for i in range(identities)]
    splits = {"train": names[:-6], "val": names[-6:-3], "test": names[-3:]}
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    info = {
        "version": 1, "seed": seed, "size": SIZE, "margin": MARGIN, "frames": FRAMES, "interval_s": 0.4,
        "au_numbers": list(AU_NUMBERS), "template": TEMPLATE, "crop_scale": 1.3736, "splits": splits,
        "groups": {n: {"ethnicity": ("black", "white")[i % 2], "gender": "f", "age": 30} for i, n in enumerate(names)},
        "credits": [],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(info))
    per_shard = sequences // shards
    for shard in range(shards):
        images = np.empty((per_shard, FRAMES, SIZE, SIZE, 3), np.uint8)
        points = np.empty((per_shard, FRAMES, 68, 2), np.float32)
        intensity = np.zeros((per_shard, FRAMES, 15), np.float32)
        labels = np.full((per_shard, FRAMES, 15), np.nan, np.float32)
        identity, source = [], []
        for i in range(per_shard):
            k = shard * per_shard + i
            identity.append(names[(k * 5 + k // identities) % identities])
            kind = "negative" if k % 6 == 4 else "photo" if photos and k % 6 == 5 else "render"
            source.append(kind)
            apex = (rng.random(15) < 0.4) * rng.uniform(0.5, 1.0, 15)
            person = np.random.default_rng(names.index(identity[-1]))
            skin, wide = person.integers(90, 220, 3), person.uniform(0.9, 1.1)
            for frame in range(FRAMES):
                strength = (apex if kind == "photo" else apex * (0.0, 0.5, 1.0, 0.6)[frame]).astype(np.float32)
                shape = (face_points(strength, wide) - 0.5) / MARGIN + 0.5
                if kind == "negative":
                    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
                    images[i, frame], points[i, frame] = cv2.resize(coarse, (SIZE, SIZE)), np.nan
                    continue
                images[i, frame], points[i, frame] = draw(shape, skin, rng), shape
                hard = np.where(strength >= 0.3, 1.0, np.where(strength <= 0.15, 0.0, np.nan))
                if kind == "photo":
                    labels[i, frame, AU12] = hard[AU12]
                else:
                    intensity[i, frame], labels[i, frame] = strength, hard
        np.savez(
            folder / "shards" / f"{shard:04d}.npz", images=images, points=points, intensity=intensity, labels=labels,
            identity=np.array(identity), source=np.array(source),
        )  # fmt: skip
    return folder
