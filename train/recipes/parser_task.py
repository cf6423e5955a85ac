"""Training of a face parser on the part masks of renders: the features of AU-FP (section V-D)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from train.configs.options import ParserOptions
from train.data.part_masks import part_masks
from train.data.sequences import SequenceSet, load_split
from train.data.transforms.sequences import Augmenter, centre_crops
from train.engine.loop import decay_groups
from train.evaluation.sequences import evenly, to_input
from train.losses.parts import part_loss
from train.models.parser import PARTS, FaceParser
from train.recipes.fan_task import draw_frames, model_config


class ParserTask:
    """A face parser on frames drawn from the training split; those without a face are all background."""

    name = "parser"
    frames_per_sample = 1

    def __init__(self, options: ParserOptions) -> None:
        self.options = options
        self.sequences: SequenceSet = load_split(options.data, "train")
        self.validation = evenly(load_split(options.data, "val"), options.eval_frames)
        info = self.sequences.info
        torch.manual_seed(options.seed)
        config = model_config(info, options.width, options.resolution, options.pooling)
        self.model = FaceParser(options.width, options.pooling, config)
        if options.init:
            self.model.load_state_dict(FaceParser.load(options.init).state_dict())
        self.augment = Augmenter(options.resolution, info.size, info.margin)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return decay_groups(self.model, 1.0, self.options.weight_decay)

    def train_mode(self) -> None:
        self.model.train()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        crops, points, _ = draw_frames(self.sequences, self.augment, self.options, step)
        masks = part_masks(points, self.options.resolution // 4)
        return {"crops": torch.from_numpy(crops), "masks": torch.from_numpy(masks)}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits, _ = self.model.layers(to_input(batch["crops"]))
        return part_loss(logits, batch["masks"])

    @torch.inference_mode()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Intersection over union on the validation split: mean of the parts, and of each; and the share of cells."""
        parser = cast(FaceParser, model).eval()
        device = next(parser.parameters()).device
        counts = np.zeros((len(PARTS), len(PARTS)), np.int64)
        resolution, info = self.options.resolution, self.validation.info
        for images, points in zip(self.validation.images, self.validation.points, strict=True):
            crops, moved = centre_crops(images, points, resolution, info.margin)
            wanted = part_masks(moved, resolution // 4).ravel()
            said = parser.layers(to_input(torch.from_numpy(crops).to(device)))[0][-1].argmax(1).cpu().numpy().ravel()
            counts += np.bincount(wanted * len(PARTS) + said, minlength=counts.size).reshape(counts.shape)
        hits = counts.diagonal()
        shared = np.array(hits / np.maximum(counts.sum(0) + counts.sum(1) - hits, 1))
        of_parts = {f"iou_{name.replace(' ', '_')}": float(value) for name, value in zip(PARTS, shared, strict=True)}
        return {"iou": float(shared.mean()), "accuracy": float(hits.sum() / counts.sum()), **of_parts}

    def score(self, results: dict[str, float]) -> float:
        return results["iou"]
