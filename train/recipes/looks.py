"""What a frozen model sees: of pictures with known or rough landmarks, and of the sequences of a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aunet_sdk.geometry import crop as alignment
from train.data.sequences import SequenceSet
from train.data.transforms.sequences import centre_crops
from train.evaluation import metrics
from train.evaluation.sequences import to_input
from train.models.model import Model

BATCH = 16


@dataclasses.dataclass(frozen=True)
class Looks:
    """Of n frames: `pooled` (n, 68, 3 * width) float16, FAN's features around each point, and `coordinates` (n, 68, 2)
    float32 in tenths of the eye distance, both as PointsHead.pool gives them; `eyes` (n, d + 2) float32, what the part
    for more AUs keeps, (n, 0) of a model without; `points` (n, 68, 2) float64 in pixels of
    the picture (of the crop, for sequences); `confidence` (n,) mean heatmap peak."""

    pooled: NDArray[np.float16]
    coordinates: NDArray[np.float32]
    points: NDArray[np.float64]
    confidence: NDArray[np.float64]
    eyes: NDArray[np.float32]

    def described(self, model: Model, chosen: NDArray[np.int64] | slice = slice(None)) -> torch.Tensor:
        """P of those at `chosen`, as PointsHead.describe gives it."""
        eyes = torch.from_numpy(self.eyes[chosen]) if self.eyes.shape[1] else None
        pooled = torch.from_numpy(self.pooled[chosen]).float()
        return model.points.describe_pooled(pooled, torch.from_numpy(self.coordinates[chosen]), eyes)

    def __len__(self) -> int:
        return len(self.coordinates)

    def subset(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Looks:
        """Those at `chosen`, a mask or indices."""
        return Looks(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


@torch.inference_mode()
def see(model: Model, crops: NDArray[np.uint8]) -> Looks:
    """Crops (n, R, R, 3) uint8 RGB."""
    images = to_input(torch.from_numpy(np.ascontiguousarray(crops))).contiguous(memory_format=torch.channels_last)
    heatmaps, features = model.fan(images)
    points, peak = metrics.decode(heatmaps[-1])
    pooled, coordinates = model.points.pool(features, heatmaps[-1])
    return Looks(
        pooled.half().numpy(),
        coordinates.numpy(),
        points.numpy().astype(np.float64),
        peak.mean(1).numpy().astype(np.float64),
        _eyes(model, heatmaps[-1], images),
    )


def _eyes(model: Model, heatmaps: torch.Tensor, images: torch.Tensor) -> NDArray[np.float32]:
    part = model.points.extra
    if part is None:
        return np.empty((len(images), 0), np.float32)
    found: NDArray[np.float32] = part.look(model.points.eyes(heatmaps, images, part.pictures)).numpy()
    return found


def look_at_pictures(model: Model, pictures: Iterable[tuple[NDArray[np.uint8], NDArray[np.floating]]]) -> Looks:
    """Pictures (h, w, 3) uint8 BGR with rough points (68, 2) px of their face; looked at twice, the second time in the
    crop that the model's own points give, as a live system does."""
    source, found = iter(pictures), []
    while batch := list(islice(source, BATCH)):
        points: list[NDArray[np.floating]] = [marks for _, marks in batch]
        for _ in range(2):
            cut = [_crop(model, image, marks) for (image, _), marks in zip(batch, points, strict=True)]
            seen = see(model, np.stack([crop for crop, _ in cut]))
            pairs = zip(cut, seen.points, strict=True)
            points = [alignment.transform(alignment.invert(matrix), marks) for (_, matrix), marks in pairs]
        found.append(dataclasses.replace(seen, points=np.stack(points)))
    if not found:
        raise ValueError("pictures: expected at least one with a face, got none")
    return _joined(found)


def look_at_sequences(model: Model, sequences: SequenceSet) -> Looks:
    """Every frame of the canonical crops, sequence by sequence."""
    resolution, info = model.config.resolution, sequences.info

    def crops() -> Iterator[NDArray[np.uint8]]:
        for images, points in zip(sequences.images, sequences.points, strict=True):
            yield centre_crops(images, points, resolution, info.margin)[0]

    return _joined([see(model, one) for one in crops()])


def _joined(parts: list[Looks]) -> Looks:
    names = [field.name for field in dataclasses.fields(Looks)]
    return Looks(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _crop(
    model: Model, image: NDArray[np.uint8], points: NDArray[np.floating]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The canonical crop (R, R, 3) uint8 RGB, and the matrix (2, 3) from the picture's pixels to its own."""
    side = model.config.resolution
    target = np.array(model.config.template) * side - 0.5
    matrix = alignment.similarity(alignment.five_points(points), target)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    to_crop = matrix
    if scale < 0.5:  # half of the way by areas, or every other pixel would count for nothing
        factor = 2 * scale
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        to_crop = alignment.similarity(alignment.five_points((points + 0.5) * factor - 0.5), target)
    crop = cv2.warpAffine(image, to_crop, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(crop[..., ::-1]), matrix


__all__ = ["Looks", "look_at_pictures", "look_at_sequences", "see"]
