"""Crops to compare torch and the exported graph on: triplets former, due, later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["load_triplets"]

Image: TypeAlias = NDArray[Any]  # uint8 (H, W, 3) RGB

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GAP = 10  # frames between the members of a video's triplet


def load_triplets(source: str | Path | None, resolution: int, limit: int = 32) -> tuple[NDArray[np.float32], str]:
    """Triplets of crops, and a line that says what they are.

    Args:
        source: a synthetic set (folder with dataset.json) or one of its shards (.npz), a folder of images, an image, a
            video (the central square of its frames); None: a video or images of examples/, else smooth random patterns.
        resolution: R, side of the crops in px.
        limit: triplets at most.

    Returns:
        float32 (N, 3 frames, 3, R, R), RGB in [0, 1], frames former, due, later.

    Raises:
        FileNotFoundError: nothing there. ValueError: nothing in it that can be read.
    """
    if limit < 1:
        raise ValueError(f"limit: expected at least 1 triplet, got {limit}")
    if source is None:
        found = sorted(p for p in EXAMPLES.glob("*") if p.suffix.lower() in VIDEOS | IMAGES)
        if not found:
            return _patterns(resolution, limit), "smooth random patterns (no crops given, none in examples/)"
        source = found[0]
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"crops: expected a folder or file at {path}, found none; check the path")
    if path.suffix.lower() == ".npz" or (path / "dataset.json").is_file():
        frames = _shards(path, limit)
    elif path.suffix.lower() in VIDEOS:
        frames = _triples(_video(path, limit + 2 * GAP), GAP)
    else:
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
        images = [image for image in (cv2.imread(str(file)) for file in files[: limit + 2]) if image is not None]
        if not images:
            raise ValueError(f"crops: expected images in {path}, got none that can be read")
        images = images if len(images) > 2 else (images * 3)[:3]
        frames = _triples([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images], 1)
    triplets = [np.stack([_fit(image, resolution) for image in triple]) for triple in frames[:limit]]
    return np.stack(triplets), f"{len(triplets)} triplets of {path.name}"


def _fit(image: Image, resolution: int) -> NDArray[np.float32]:
    """RGB (H, W, 3) uint8 -> its central square as (3, R, R) float32."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    small = cv2.resize(square, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def _triples(frames: list[Image], gap: int) -> list[tuple[Image, ...]]:
    gap = min(gap, (len(frames) - 1) // 2)
    return [(frames[i - gap], frames[i], frames[i + gap]) for i in range(gap, len(frames) - gap)]


def _video(path: Path, count: int) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    frames: list[Image] = []
    try:
        while len(frames) < count:
            good, image = capture.read()
            if not good:
                break
            frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
    if len(frames) < 3:
        raise ValueError(f"crops: expected a video of at least 3 frames, got {len(frames)} from {path}")
    return frames


def _shards(path: Path, limit: int) -> list[tuple[Image, ...]]:
    """Triples of the sequences of a synthetic set, its margin cut away."""
    home = path if path.is_dir() else path.parent.parent
    described = home / "dataset.json"
    margin = float(json.loads(described.read_text(encoding="utf-8"))["margin"]) if described.is_file() else 1.25
    files = sorted((path / "shards").glob("*.npz")) if path.is_dir() else [path]
    triples: list[tuple[Image, ...]] = []
    for file in files:
        with np.load(file, allow_pickle=False) as shard:
            if "images" not in shard or shard["images"].ndim != 5:
                raise ValueError(f"crops: expected images (N, F, S, S, 3) in {file}, got {shard.files}")
            images = shard["images"]
        edge = round(images.shape[2] * (1 - 1 / margin) / 2)
        inner = images[:, :, edge : images.shape[2] - edge, edge : images.shape[3] - edge]
        step = max(1, len(inner) * len(files) // limit)
        triples += [tuple(_neighbours(sequence)) for sequence in inner[::step]]
        if len(triples) >= limit:
            break
    if not triples:
        raise ValueError(f"crops: expected shards/*.npz in {path}, got none")
    return triples


def _neighbours(sequence: Image) -> list[Image]:
    last = len(sequence) - 1
    return [sequence[min(i, last)] for i in (0, 1, 2)]


def _patterns(resolution: int, count: int) -> NDArray[np.float32]:
    """Blurred noise that moves a little from frame to frame; the same on every machine."""
    rng = np.random.default_rng(0)
    crops = np.empty((count, 3, 3, resolution, resolution), np.float32)
    for triplet in crops:
        coarse = rng.random((resolution // 8, resolution // 8, 3)).astype(np.float32)
        image = cv2.resize(coarse, (resolution, resolution), interpolation=cv2.INTER_CUBIC)
        for k, crop in enumerate(triplet):
            crop[:] = np.clip(np.roll(image, 2 * k, axis=(0, 1)), 0, 1).transpose(2, 0, 1)
    return crops
