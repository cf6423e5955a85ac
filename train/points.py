"""Training of the points head on pooled features that are computed once.

What the head reads of a frame is small (68 points, 3 * width features and two coordinates), so a frozen FAN looks at a
few augmented copies of the training split, and the head then sees each of them a hundred times at thousands of frames
a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from train import losses
from train.augment import Augmenter
from train.config import PointsOptions
from train.data.sequences import load_split
from train.evaluate import brief, evenly, to_input
from train.fan import load_model
from train.loop import decay_groups, pick_device
from train.model import Model


class PointsTask:
    """The points head alone, every frame of a sequence with its neighbours, some of them left out."""

    name = "points"

    def __init__(self, options: PointsOptions) -> None:
        if not options.init or options.passes < 1:
            raise ValueError("init, passes: expected a trained model (--init) and at least one pass")
        self.options = options
        self.sequences = load_split(options.data, "train")
        self.validation = evenly(load_split(options.data, "val"), options.eval_frames)
        self.frames_per_sample = self.sequences.info.frames
        self.model = load_model(options.init)
        config, info = self.model.config, self.sequences.info
        if config.au_numbers != info.au_numbers:
            raise ValueError(f"data: expected the AUs of the model {config.au_numbers}, got {info.au_numbers}")
        labels = torch.from_numpy(self.sequences.labels).flatten(0, 1)
        self.weights = losses.au_weights(labels.nanmean(0))
        self._compute(Augmenter(config.resolution, info.size, info.margin))

    @torch.no_grad()
    def _compute(self, augment: Augmenter) -> None:
        """`pooled` (passes, N, frames, 68, 3 * width) float16 and `coordinates` (passes, N, frames, 68, 2) float32."""
        options, sequences, frames = self.options, self.sequences, self.frames_per_sample
        torch.set_num_threads(options.threads)
        device = pick_device(options.device)
        model = self.model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        side, count = model.config.resolution, len(sequences)
        shape = (options.passes, count, frames, 68)
        self.pooled = torch.empty((*shape, 3 * model.config.width), dtype=torch.float16)
        self.coordinates = torch.empty((*shape, 2))
        crops = np.empty((8, frames, side, side, 3), np.uint8)
        starts = [(p, start) for p in range(options.passes) for start in range(0, count, len(crops))]
        for number, start in track(starts, description="features"):
            chosen = range(start, min(count, start + len(crops)))
            for row, i in enumerate(chosen):
                rng = np.random.default_rng([options.seed, number, i])
                augment(rng, sequences.images[i], sequences.points[i], crops[row])
            images = torch.from_numpy(crops[: len(chosen)]).flatten(0, 1).to(device)
            heatmaps, features = model.fan(to_input(images))
            pooled, coordinates = model.points.pool(features, heatmaps[-1])
            place = slice(chosen.start, chosen.stop)
            self.pooled[number, place] = pooled.cpu().half().unflatten(0, (-1, frames))
            self.coordinates[number, place] = coordinates.cpu().unflatten(0, (-1, frames))

    def parameter_groups(self) -> list[dict[str, Any]]:
        self.model.requires_grad_(False)
        self.model.points.requires_grad_(True)
        return decay_groups(self.model.points, 1.0, self.options.weight_decay)

    def train_mode(self) -> None:
        self.model.eval()
        self.model.points.train()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        options, sequences, frames = self.options, self.sequences, self.frames_per_sample
        rng = np.random.default_rng([options.seed, step, 1])
        chosen = sequences.draw(rng, options.batch, options.photo_share)
        number = torch.from_numpy(rng.integers(0, options.passes, options.batch))
        rows = torch.from_numpy(chosen)
        own = np.arange(options.batch * frames)
        place = own % frames
        keep_former, keep_later = rng.random((2, len(own))) >= options.context_dropout
        return {
            "pooled": self.pooled[number, rows].flatten(0, 1).float(),
            "coordinates": self.coordinates[number, rows].flatten(0, 1),
            "photo": torch.from_numpy(np.repeat(sequences.source[chosen] == "photo", frames)),
            "intensity": torch.from_numpy(sequences.intensity[chosen]).flatten(0, 1),
            "labels": torch.from_numpy(sequences.labels[chosen]).flatten(0, 1),
            "former": torch.from_numpy(np.where((place > 0) & keep_former, own - 1, own)),
            "later": torch.from_numpy(np.where((place < frames - 1) & keep_later, own + 1, own)),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        head = self.model.points
        described = head.describe_pooled(batch["pooled"], batch["coordinates"])
        targets = losses.soft_labels(batch["intensity"], batch["labels"], batch["photo"])
        logits = head.combine(described[batch["former"]], described, described[batch["later"]])
        loss = losses.au_loss(logits, targets, self.weights.to(targets.device), self.options.positive_weight)
        return loss, {"points": loss}

    def evaluate(self, model: Model) -> dict[str, float]:
        return brief(model, self.validation)

    def score(self, results: dict[str, float]) -> float:
        return results["points_auc"]
