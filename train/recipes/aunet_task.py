"""Training of the AU heads on sequences, on a frozen FAN or jointly with it (paper sections IV-A, IV-C)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train.configs.options import AUNetOptions
from train.data.sequences import load_split
from train.data.transforms.sequences import Augmenter
from train.data.visibility import not_shown
from train.engine.loop import decay_groups
from train.evaluation.sequences import brief, evenly, to_input
from train.losses.au import au_loss, au_weights, consensus_loss, soft_labels
from train.losses.landmarks import landmark_loss, point_weights
from train.models.checkpoint import load_model
from train.models.model import Model


class AUNetTask:
    """Both heads side by side, every frame of a sequence with its neighbours, some of them left out."""

    name = "aunet"

    def __init__(self, options: AUNetOptions) -> None:
        if not options.fan and not options.init:
            raise ValueError("fan, init: expected a trained FAN (--fan) or a model to go on with (--init), got neither")
        self.options = options
        self.sequences = load_split(options.data, "train")
        self.validation = evenly(load_split(options.data, "val"), options.eval_frames)
        info = self.sequences.info
        self.frames_per_sample = info.frames
        torch.manual_seed(options.seed)
        trained = load_model(options.fan or str(options.init))
        if options.init:
            self.model = load_model(options.init)
        else:
            self.model = Model(trained.config)
        if options.fan:
            self.model.fan.load_state_dict(trained.fan.state_dict())
        if options.resolution:  # no weight depends on it
            self.model.config = dataclasses.replace(self.model.config, resolution=options.resolution)
        config = self.model.config
        if config.au_numbers != info.au_numbers:
            raise ValueError(f"data: expected the AUs of the model {config.au_numbers}, got {info.au_numbers}")
        self.augment = Augmenter(config.resolution, info.size, info.margin)
        labels = torch.from_numpy(self.sequences.labels).flatten(0, 1)
        self.weights = au_weights(labels.nanmean(0))

    def parameter_groups(self) -> list[dict[str, Any]]:
        options, model = self.options, self.model
        model.requires_grad_(True)
        model.fan.requires_grad_(options.joint)
        groups = decay_groups(model.aunet, 1.0, options.weight_decay)
        groups += decay_groups(model.points, 1.0, options.weight_decay)
        return groups + decay_groups(model.fan, options.fan_lr, options.weight_decay) if options.joint else groups

    def train_mode(self) -> None:
        self.model.train()
        if not self.options.joint:
            self.model.fan.eval()
        elif self.options.fan_bn_eval:
            for layer in self.model.fan.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        options, sequences, frames = self.options, self.sequences, self.frames_per_sample
        rng = np.random.default_rng([options.seed, step])
        side = self.model.config.resolution
        crops = np.empty((options.batch, frames, side, side, 3), np.uint8)
        points = np.empty((options.batch, frames, 68, 2), np.float32)
        hidden = np.empty(points.shape[:3], bool)
        chosen = sequences.draw(rng, options.batch, options.photo_share)
        for row, i in enumerate(chosen):
            points[row], hidden[row] = self.augment(rng, sequences.images[i], sequences.points[i], crops[row])
        own = np.arange(options.batch * frames)
        place = own % frames
        keep_former, keep_later = rng.random((2, len(own))) >= options.context_dropout
        photo = np.repeat(sequences.source[chosen] == "photo", frames)
        return {
            "crops": torch.from_numpy(crops).flatten(0, 1),
            "points": torch.from_numpy(points).flatten(0, 1),
            "photo": torch.from_numpy(photo),
            "not_shown": torch.from_numpy(not_shown(hidden, sequences.info.au_numbers)).flatten(0, 1),
            "intensity": torch.from_numpy(sequences.intensity[chosen]).flatten(0, 1),
            "labels": torch.from_numpy(sequences.labels[chosen]).flatten(0, 1),
            "former": torch.from_numpy(np.where((place > 0) & keep_former, own - 1, own)),
            "later": torch.from_numpy(np.where((place < frames - 1) & keep_later, own + 1, own)),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        model, options = self.model, self.options
        with torch.set_grad_enabled(options.joint):
            heatmaps, features = model.fan(to_input(batch["crops"]))
        former, later = batch["former"], batch["later"]
        static, early, late = model.aunet.split(features)
        described = model.points.describe(features, heatmaps[-1], to_input(batch["crops"]))
        targets = soft_labels(batch["intensity"], batch["labels"], batch["photo"])
        targets = torch.where(batch["not_shown"] & ~targets.isnan(), 0.0, targets)
        weights = self.weights.to(targets.device)
        lift = options.positive_weight
        from_aunet = model.aunet.combine(static, early[former], early, late, late[later])
        from_points = model.points.combine(described[former], described, described[later])
        aunet = au_loss(from_aunet, targets, weights, lift)
        points = au_loss(from_points, targets, weights, lift)
        total, scalars = aunet + points, {"aunet": aunet, "points": points}
        if options.consensus:
            face = batch["points"].isfinite().flatten(1).any(1)
            scalars["consensus"] = consensus_loss(from_aunet, from_points, weights, face)
            total = total + options.consensus * scalars["consensus"]
        if options.joint:
            weight = point_weights(batch["photo"])
            landmarks, parts = landmark_loss(heatmaps, batch["points"], weight, options.coordinate_weight)
            total, scalars = total + options.heatmap_weight * landmarks, scalars | parts
        return total, scalars

    def evaluate(self, model: Model) -> dict[str, float]:
        return brief(model, self.validation)

    def score(self, results: dict[str, float]) -> float:
        return results["aunet_auc"] + results["points_auc"] - results["nme_inner"]
