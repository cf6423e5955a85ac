"""Training of FAN: heatmap regression on single frames (paper section IV-A)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import FanOptions
from train.data.sequences import DatasetInfo, SequenceSet, load_split
from train.data.transforms.sequences import Augmenter
from train.engine.loop import decay_groups
from train.evaluation.sequences import evenly, landmark_report, predict, to_input
from train.losses.landmarks import landmark_loss, point_weights
from train.models.checkpoint import load_model
from train.models.config import ModelConfig
from train.models.model import Model


def model_config(info: DatasetInfo, width: int, resolution: int, pooling: str = "max") -> ModelConfig:
    """Configuration of a new model for a data set."""
    return ModelConfig(
        width=width,
        resolution=resolution,
        au_numbers=info.au_numbers,
        pooling=pooling,
        template=info.template,
        crop_scale=info.crop_scale,
        points3d=tuple(tuple(point) for point in info.raw.get("points3d", ())),
        interval_s=info.interval_s,
    )


def draw_frames(
    sequences: SequenceSet, augment: Augmenter, options: FanOptions, step: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """The frames of a step: crops (B, R, R, 3) uint8 RGB, their points (B, 68, 2) px, the sequences (B,) that they are
    from."""
    rng = np.random.default_rng([options.seed, step])
    crops = np.empty((options.batch, options.resolution, options.resolution, 3), np.uint8)
    points = np.empty((options.batch, 68, 2), np.float32)
    chosen = sequences.draw(rng, options.batch, options.photo_share)
    frames = rng.integers(0, sequences.info.frames, options.batch)
    for row, (i, frame) in enumerate(zip(chosen, frames, strict=True)):
        one = slice(frame, frame + 1)
        moved, _ = augment(rng, sequences.images[i][one], sequences.points[i, one], crops[row : row + 1])
        points[row] = moved[0]
    return crops, points, chosen


class FanTask:
    """FAN on frames drawn from the training split."""

    name = "fan"
    frames_per_sample = 1

    def __init__(self, options: FanOptions) -> None:
        self.options = options
        self.sequences: SequenceSet = load_split(options.data, "train")
        self.validation = evenly(load_split(options.data, "val"), options.eval_frames)
        info = self.sequences.info
        torch.manual_seed(options.seed)
        self.model = Model(model_config(info, options.width, options.resolution, options.pooling))
        if options.init:
            first = load_model(options.init)
            self.model.fan.load_state_dict(first.fan.state_dict())
        self.augment = Augmenter(options.resolution, info.size, info.margin)

    def parameter_groups(self) -> list[dict[str, Any]]:
        self.model.requires_grad_(False)
        self.model.fan.requires_grad_(True)
        return decay_groups(self.model.fan, 1.0, self.options.weight_decay)

    def train_mode(self) -> None:
        self.model.train()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        crops, points, chosen = draw_frames(self.sequences, self.augment, self.options, step)
        return {
            "crops": torch.from_numpy(crops),
            "points": torch.from_numpy(points),
            "photo": torch.from_numpy(self.sequences.source[chosen] == "photo"),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        heatmaps, _ = self.model.fan.layers(to_input(batch["crops"]))
        weight = point_weights(batch["photo"])
        return landmark_loss(heatmaps, batch["points"], weight, self.options.coordinate_weight)

    def evaluate(self, model: Model) -> dict[str, float]:
        return landmark_report(predict(model, self.validation, heads=False))

    def score(self, results: dict[str, float]) -> float:
        return -results["nme_inner"]
