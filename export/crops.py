"""Crops to compare torch and the exported graph on, and to calibrate INT8 with: triplets former, due, later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["VIDEOS", "Sample", "joined", "load_clip", "load_sample", "load_triplets"]

Image: TypeAlias = NDArray[Any]  # uint8 (H, W, 3) RGB

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GAP = 10  # frames between the members of a video's triplet


@dataclass(frozen=True, eq=False)
class Sample:
    """Triplets of crops.

    name: what they are, for the report
    crops: uint8 (N, 3 frames, 3, R, R), RGB, frames former, due, later
    labels: float32 (N, n) of the due frames, 0 or 1, NaN where not labelled, in the order of the AUs that were asked
    for; None where nobody labelled them
    """

    name: str
    crops: NDArray[np.uint8]
    labels: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.crops)


def load_triplets(source: str | Path | None, resolution: int, limit: int = 32) -> tuple[NDArray[np.float32], str]:
    """The crops of `load_sample` as float32 (N, 3 frames, 3, R, R) in [0, 1], and the line that says what they are."""
    sample = load_sample(source, resolution, limit)
    return sample.crops.astype(np.float32) / np.float32(255), sample.name


def load_sample(
    source: str | Path | None,
    resolution: int,
    limit: int = 32,
    split: str | None = None,
    au_numbers: Sequence[int] | None = None,
) -> Sample:
    """Triplets of crops from pictures that are crops already.

    Args:
        source: a synthetic set (folder with dataset.json) or one of its shards (.npz), a folder of images, an image, a
            video (the central square of its frames; see `load_clip`); None: a video or images of examples/, else smooth
            random patterns.
        resolution: R, side of the crops in px.
        limit: triplets at most, spread evenly over what is there.
        split: "train", "val" or "test" of a synthetic set; None: all of it.
        au_numbers: AUs of the labels; what the set has no labels for is NaN. None: those of the set.

    Raises:
        FileNotFoundError: nothing there. ValueError: nothing in it that can be read, no such split, or labels of which
        nobody says what AUs they are.
    """
    if limit < 1:
        raise ValueError(f"limit: expected at least 1 triplet, got {limit}")
    if source is None:
        found = sorted(p for p in EXAMPLES.glob("*") if p.suffix.lower() in VIDEOS | IMAGES)
        if not found:
            return Sample("smooth random patterns (no crops given, none in examples/)", _patterns(resolution, limit))
        source = found[0]
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"crops: expected a folder or file at {path}, found none; check the path")
    if path.suffix.lower() == ".npz" or (path / "dataset.json").is_file():
        return _shards(path, resolution, limit, split, au_numbers)
    if split is not None:
        raise ValueError(f"crops: expected a synthetic set for the split {split!r}, got {path}, which has no splits")
    if path.suffix.lower() in VIDEOS:
        frames = _triples(_video(path, limit + 2 * GAP), GAP)
    else:
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
        images = [image for image in (cv2.imread(str(file)) for file in files[: limit + 2]) if image is not None]
        if not images:
            raise ValueError(f"crops: expected images in {path}, got none that can be read")
        images = images if len(images) > 2 else (images * 3)[:3]
        frames = _triples([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images], 1)
    triplets = [np.stack([_fit(image, resolution) for image in triple]) for triple in frames[:limit]]
    return Sample(f"{len(triplets)} triplets of {path.name}", np.stack(triplets))


def load_clip(
    path: str | Path, resolution: int, template: NDArray[np.float64], interval_s: float, limit: int = 200
) -> Sample:
    """Triplets of canonical crops of the first face of a video, found and followed by the default detector.

    Args:
        path: video file.
        resolution, template: R in px and five points (5, 2) normalised: the crop geometry of the model to be compared.
        interval_s: distance of the neighbours in seconds.
        limit: triplets at most, spread evenly over the video.

    Raises FileNotFoundError, ValueError (no face long enough for a triplet) and the detector's own errors.
    """
    from aunet_sdk import Detector, DetectorOptions
    from aunet_sdk.geometry import crop as alignment
    from aunet_sdk.sources import VideoFile

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"clip: expected a video at {path}, found none; check the path")
    with Detector(DetectorOptions(engine="onnxruntime")) as detector:
        seen = {r.index: (r.timestamp_s, r.faces[0]) for r in detector.detect_video(path) if r.faces}
    crops: dict[int, NDArray[np.uint8]] = {}
    for frame in VideoFile(path):
        if frame.index in seen:
            matrix = alignment.points_to_matrix(seen[frame.index][1].landmarks, template, resolution)
            crops[frame.index] = np.empty((3, resolution, resolution), np.uint8)
            image, matrix = alignment.reduce_for_crop(frame.image, matrix, resolution)
            alignment.warp_crop(image, matrix, crops[frame.index])
    indices = np.array(sorted(seen), np.int64)
    times = np.array([seen[i][0] for i in indices])
    ids = np.array([seen[i][1].id for i in indices])
    tolerance = 1.5 * float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    triples = []
    for k, time_s in enumerate(times):
        near = [int(np.abs(times - (time_s + shift)).argmin()) for shift in (-interval_s, interval_s)]
        apart = [abs(times[n] - time_s - shift) for n, shift in zip(near, (-interval_s, interval_s), strict=True)]
        if max(apart) <= tolerance and ids[near[0]] == ids[k] == ids[near[1]]:
            triples.append([crops[indices[n]] for n in (near[0], k, near[1])])
    if not triples:
        raise ValueError(f"clip: expected a face for {2 * interval_s:g} s on end in {path}, found none; take another")
    chosen = [np.stack(triples[i]) for i in _spread(len(triples), limit)]
    return Sample(f"{len(chosen)} triplets of {path.name}, aligned", np.stack(chosen))


def joined(samples: Sequence[Sample]) -> Sample:
    """The crops of all of them, without labels; one by itself as it is."""
    if len(samples) == 1:
        return samples[0]
    return Sample(", ".join(sample.name for sample in samples), np.concatenate([sample.crops for sample in samples]))


def _spread(count: int, limit: int) -> NDArray[np.int64]:
    """`limit` indices at most, evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def _fit(image: Image, resolution: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 -> its central square as (3, R, R)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    small = cv2.resize(square, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.transpose(2, 0, 1))


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


def _shards(path: Path, resolution: int, limit: int, split: str | None, au_numbers: Sequence[int] | None) -> Sample:
    """The first three frames of sequences of a synthetic set, its margin cut away, with the second one's labels."""
    home = path if path.is_dir() else path.parent.parent
    described = home / "dataset.json"
    about = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    margin = float(about.get("margin", 1.25))
    wanted = None
    if split is not None:
        if split not in about.get("splits", {}):
            there = sorted(about.get("splits", {}))
            raise ValueError(f"crops: expected the split {split!r} in {described}, got {there}")
        wanted = about["splits"][split]
    files = sorted((path / "shards").glob("*.npz")) if path.is_dir() else [path]
    rows: list[tuple[Path, int]] = []
    for file in files:
        with np.load(file, allow_pickle=False) as shard:
            if wanted is not None:
                if "identity" not in shard:
                    raise ValueError(f"crops: expected the identities of the split {split} in {file}, got none")
                rows += [(file, int(i)) for i in np.flatnonzero(np.isin(shard["identity"], wanted))]
            elif "images" in shard and shard["images"].ndim == 5:
                rows += [(file, i) for i in range(len(shard["images"]))]
            else:
                raise ValueError(f"crops: expected images (N, F, S, S, 3) in {file}, got {shard.files}")
    if not rows:
        raise ValueError(f"crops: expected sequences in {path}, split {split or 'all'}, got none")
    chosen = [rows[i] for i in _spread(len(rows), limit)]
    crops, labels = [], []
    for file in dict.fromkeys(file for file, _ in chosen):
        with np.load(file, allow_pickle=False) as shard:
            images = shard["images"]
            known = shard["labels"] if "labels" in shard else None
        edge = round(images.shape[2] * (1 - 1 / margin) / 2)
        last = images.shape[1] - 1
        for row in (row for other, row in chosen if other == file):
            inner = images[row, :, edge : images.shape[2] - edge, edge : images.shape[3] - edge]
            crops.append(np.stack([_fit(inner[min(i, last)], resolution) for i in (0, 1, 2)]))
            if known is not None:
                labels.append(known[row, min(1, last)])
    name = f"{len(crops)} triplets of {path.name}" + (f", split {split}" if split else "")
    if len(labels) != len(crops):
        return Sample(name, np.stack(crops))
    return Sample(name, np.stack(crops), _of_aus(np.stack(labels).astype(np.float32), about, au_numbers, described))


def _of_aus(
    labels: NDArray[np.float32], about: dict[str, Any], au_numbers: Sequence[int] | None, described: Path
) -> NDArray[np.float32]:
    """Labels (N, n) of a set as those of `au_numbers`, NaN where it has none."""
    if au_numbers is None:
        return labels
    own = about.get("au_numbers", au_numbers)  # a shard by itself is taken for one of the same AUs
    if len(own) != labels.shape[1]:
        raise ValueError(
            f"crops: expected labels of {len(own)} AUs ({', '.join(map(str, own))}), got {labels.shape[1]}; "
            f"say which they are by au_numbers in {described}"
        )
    from train.data.mixture import spread

    return spread(labels, own, au_numbers)


def _patterns(resolution: int, count: int) -> NDArray[np.uint8]:
    """Blurred noise that moves a little from frame to frame; the same on every machine."""
    rng = np.random.default_rng(0)
    crops = np.empty((count, 3, 3, resolution, resolution), np.uint8)
    for triplet in crops:
        coarse = rng.random((resolution // 8, resolution // 8, 3)).astype(np.float32)
        image = cv2.resize(coarse, (resolution, resolution), interpolation=cv2.INTER_CUBIC)
        for k, crop in enumerate(triplet):
            rolled = np.clip(np.roll(image, 2 * k, axis=(0, 1)), 0, 1)
            crop[:] = (255 * rolled).round().astype(np.uint8).transpose(2, 0, 1)
    return crops
