"""Training of the appearance path of the points head on pooled features that are computed once: presence and intensity.

What the head reads of a frame is small (68 points, 3 * width features and two coordinates), so a frozen FAN looks at a
few augmented copies of the training split, and the head then sees each of them a hundred times at thousands of frames
a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from train.configs.options import ExtraOptions, PointsOptions
from train.data.sequences import SequenceSet, load_split
from train.data.transforms.sequences import Augmenter, AugmentOptions
from train.engine.loop import decay_groups, pick_device
from train.evaluation.sequences import brief, evenly, to_input
from train.losses.au import au_loss, au_weights, soft_labels
from train.models.checkpoint import load_model
from train.models.model import Model, grown


@torch.no_grad()
def pooled_features(
    model: Model,
    sequences: SequenceSet,
    options: PointsOptions | ExtraOptions,
    ranges: Sequence[AugmentOptions | None] = (None,),
) -> tuple[Tensor, Tensor]:
    """What `PointsHead.pool` gives of `options.passes` augmented copies of the sequences: features (passes, N, frames,
    68, 3 * width) float16 and coordinates (passes, N, frames, 68, 2) float32, on the CPU. `ranges`: of the augmentation
    of each pass, used in turn; None: its own."""
    frames, config, info = sequences.info.frames, model.config, sequences.info
    augmenters = [Augmenter(config.resolution, info.size, info.margin, one) for one in ranges]
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    side, count = config.resolution, len(sequences)
    shape = (options.passes, count, frames, 68)
    every, places = torch.empty((*shape, 3 * config.width), dtype=torch.float16), torch.empty((*shape, 2))
    crops = np.empty((8, frames, side, side, 3), np.uint8)
    starts = [(p, start) for p in range(options.passes) for start in range(0, count, len(crops))]
    for number, start in track(starts, description="features"):
        chosen = range(start, min(count, start + len(crops)))
        for row, i in enumerate(chosen):
            rng = np.random.default_rng([options.seed, number, i])
            augmenters[number % len(ranges)](rng, sequences.images[i], sequences.points[i], crops[row])
        images = torch.from_numpy(crops[: len(chosen)]).flatten(0, 1).to(device)
        heatmaps, features = model.fan(to_input(images))
        pooled, coordinates = model.points.pool(features, heatmaps[-1])
        rows = slice(chosen.start, chosen.stop)
        every[number, rows] = pooled.cpu().half().unflatten(0, (-1, frames))
        places[number, rows] = coordinates.cpu().unflatten(0, (-1, frames))
    return every, places


class PointsTask:
    """The points head alone, every frame of a sequence with its neighbours, some of them left out."""

    name = "points"

    def __init__(self, options: PointsOptions) -> None:
        if not options.init or options.passes < 1:
            raise ValueError("init, passes: expected a trained model (--init) and at least one pass")
        self.options = options
        training, before = load_split(options.data, "train"), load_model(options.init)
        numbers = tuple(sorted({*before.config.au_numbers, *training.info.au_numbers}))
        torch.manual_seed(options.seed)
        self.model = grown(before, numbers, intensity=True)
        self.new = torch.tensor([number not in before.config.aus_of("points") for number in numbers])
        self.sequences = training.of(numbers)
        self.validation = evenly(load_split(options.data, "val").of(numbers), options.eval_frames)
        self.frames_per_sample = training.info.frames
        labels = torch.from_numpy(self.sequences.labels).flatten(0, 1)
        self.weights = au_weights(labels.nanmean(0))
        self.pooled, self.coordinates = pooled_features(self.model, self.sequences, options)

    def parameter_groups(self) -> list[dict[str, Any]]:
        head = self.model.points
        self.model.requires_grad_(False)
        if self.options.outputs:
            return self._outputs()
        head.requires_grad_(True)
        for other in (head.geometry, head.gate, head.intensity_gate):
            if other is not None:
                other.requires_grad_(False)
        return decay_groups(head, 1.0, self.options.weight_decay)

    def _outputs(self) -> list[dict[str, Any]]:
        """The layer of the intensities and that of the logits, of which the rows of new AUs alone get a gradient."""
        head = self.model.points
        last = list(head.predictor.children())[-1]
        assert head.intensity is not None and isinstance(last, torch.nn.Linear)
        for layer in (head.intensity, last):
            layer.requires_grad_(True)
        for parameter in last.parameters():
            rows = self.new.reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.register_hook(lambda gradient, rows=rows: gradient * rows.to(gradient))
        parameters = [*head.intensity.parameters(), *last.parameters()]
        return [{"params": parameters, "lr_scale": 1.0, "weight_decay": 0.0}]

    def train_mode(self) -> None:
        self.model.eval()
        if self.options.outputs:
            return
        self.model.points.train()
        if self.model.points.geometry is not None:
            self.model.points.geometry.eval()

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
        targets = soft_labels(batch["intensity"], batch["labels"], batch["photo"])
        logits, strength = head.appearance_of(described[batch["former"]], described, described[batch["later"]])
        assert strength is not None
        weights = self.weights.to(targets.device)
        if self.options.outputs:
            targets = torch.where(self.new.to(targets.device), targets, torch.nan)
        presence = au_loss(logits, targets, weights, self.options.positive_weight)
        told = ~batch["photo"][:, None] | (batch["labels"] == 0)  # how strong a smile is, a photo does not tell
        graded = torch.where(told, batch["intensity"], torch.nan)
        intensity = au_loss(strength, graded, torch.ones_like(weights))
        return presence + intensity, {"points": presence, "intensity": intensity}

    def evaluate(self, model: Model) -> dict[str, float]:
        return brief(model, self.validation)

    def score(self, results: dict[str, float]) -> float:
        return results["points_auc"]
