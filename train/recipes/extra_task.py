"""Training of the points head's part for more AUs (`Lids`) on pictures of eyes that a frozen model's points showed
once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.configs.options import ExtraOptions
from train.data.sequences import SequenceSet, load_split
from train.engine.loop import decay_groups
from train.evaluation import calibration
from train.evaluation.sequences import brief, evenly, predict
from train.losses.au import au_loss, soft_labels
from train.models.checkpoint import load_model
from train.models.extended import extended, without_extra
from train.models.extra_head import Lids
from train.models.model import Model
from train.recipes.eye_pictures import cut, varied


class ExtraTask:
    """The part for more AUs alone, every frame of a sequence with its neighbours, some of them left out."""

    name = "extra"

    def __init__(self, options: ExtraOptions) -> None:
        if not options.init or options.passes < 1:
            raise ValueError("init, passes: expected a trained model (--init) and at least one pass")
        self.options = options
        training, validation = load_split(options.data, "train"), load_split(options.data, "val")
        missing = sorted(set(options.numbers) - set(training.info.au_numbers))
        if missing:
            raise ValueError(f"aus: expected some of those of the set {training.info.au_numbers}, got {missing} beside")
        torch.manual_seed(options.seed)
        self.model = extended(without_extra(load_model(options.init)), options.numbers)
        labelled = training.of(options.numbers)
        told = ~np.isnan(labelled.labels) | ~np.isnan(labelled.intensity)
        self.sequences = labelled.subset(np.flatnonzero(told.any((1, 2))))
        self.validation = evenly(validation.of(self.model.config.au_numbers), options.eval_frames)
        self.frames_per_sample = training.info.frames
        self.eyes = cut(self.model, self.sequences, options)

    @property
    def _part(self) -> Lids:
        assert self.model.points.extra is not None  # `extended` made it
        return self.model.points.extra

    def parameter_groups(self) -> list[dict[str, Any]]:
        self.model.requires_grad_(False)
        self._part.requires_grad_(True)
        return decay_groups(self._part, 1.0, self.options.weight_decay)

    def train_mode(self) -> None:
        self.model.eval()
        self._part.train()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        options, sequences, frames, eyes = self.options, self.sequences, self.frames_per_sample, self.eyes
        rng = np.random.default_rng([options.seed, step, 1])
        chosen = sequences.draw(rng, options.batch, options.photo_share)
        number = rng.integers(0, options.passes, options.batch)
        own = np.arange(options.batch * frames)
        place = own % frames
        keep_former, keep_later = rng.random((2, len(own))) >= options.context_dropout
        photo = (sequences.source[chosen] == "photo") & ~eyes.moved[number, chosen]
        return {
            "pictures": varied(eyes.pictures[torch.from_numpy(number), torch.from_numpy(chosen)], rng),
            "photo": torch.from_numpy(np.repeat(photo, frames)),
            "intensity": torch.from_numpy(eyes.intensity[number, chosen]).flatten(0, 1),
            "labels": torch.from_numpy(eyes.labels[number, chosen]).flatten(0, 1),
            "former": torch.from_numpy(np.where((place > 0) & keep_former, own - 1, own)),
            "later": torch.from_numpy(np.where((place < frames - 1) & keep_later, own + 1, own)),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        targets = soft_labels(batch["intensity"], batch["labels"], batch["photo"])
        kept = self._part.look(batch["pictures"])
        logits = self._part(kept[batch["former"]], kept, kept[batch["later"]])
        loss = au_loss(logits, targets, torch.ones(targets.shape[1], device=targets.device))
        return loss, {"extra": loss}

    def evaluate(self, model: Model) -> dict[str, float]:
        return brief(model, self.validation)

    def score(self, results: dict[str, float]) -> float:
        return results["points_auc"]


def calibrate_extra(model: Model, validation: SequenceSet) -> Model:
    """Scale and shift the logits of the part for more AUs, and them alone, so that .5 decides
    (train.evaluation.calibration), and those of their intensities, to be near the known ones; all on the validation
    split. Changes `model` and returns it."""
    config = model.config
    numbers, part = config.aus_of("points"), model.points.extra
    if part is None:
        raise ValueError("extra: expected a model with a part for more AUs, got one without")
    sequences = validation.of(config.extra)
    columns = [config.au_numbers.index(number) for number in config.extra]
    said = predict(model, validation.of(config.au_numbers)).probabilities["points", "sequence"][..., columns]
    targets, labels, known = (
        table.reshape(-1, len(columns))
        for table in (calibration.soft_targets(sequences), sequences.labels, sequences.intensity)
    )
    values = np.clip(said.reshape(-1, len(columns)).astype(np.float64), 1e-7, 1 - 1e-7)
    logits = np.log(values / (1 - values))
    for i in range(len(columns)):
        told = ~np.isnan(known[:, i])
        if told.sum() >= 20 and (known[told, i] > 0.3).any():
            part.factor[i], part.shift[i] = calibration.platt(logits[told, i], known[told, i])
    scale, shift = calibration.fit(logits, targets, labels)
    part.rescale(torch.from_numpy(scale), torch.from_numpy(shift))
    before = config.thresholds_of("points")
    thresholds = tuple(0.5 if n in config.extra else t for n, t in zip(numbers, before, strict=True))
    model.config = dataclasses.replace(config, thresholds={**config.thresholds, "points": thresholds})
    return model
