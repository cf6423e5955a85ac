"""Training of the geometry path of the head 'points': landmark coordinates in, AUs out (train/landmarks.py).

FAN and the rest of the head stay as they are. A batch holds drawn landmarks, what FAN found on rendered faces, and what
it found on pictures of real and photorealistic faces with a sure label. `python -m train fuse` then weighs both paths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train import losses, metrics
from train.config import GeometryOptions
from train.data.pictures import read_pictures
from train.data.sequences import SequenceSet, load_split
from train.data.synthetic.ict import AU_NUMBERS
from train.data.synthetic.photos import smile_labels
from train.data.synthetic.portraits import Portrait, read_portraits
from train.evaluate import evenly
from train.fan import load_model
from train.landmarks import LandmarkSampler, draw_acts, fit_people, landmark_head, mirrored
from train.looks import Looks, look_at_pictures, look_at_sequences, normalised
from train.loop import decay_groups
from train.model import Model, grown

LOG = logging.getLogger("train")
WILD = 0.55
"""Root mean square error of a face's points, tenths of the eye distance, from which on FAN has lost it (a hand before
it): not what its errors are drawn from."""
RAISED = 3.0
"""How much more often a picture with clearly raised brows is drawn: there are few."""
PICTURE_ERROR = 0.4
"""Share of the errors that is added to what FAN found on a picture, which has its own already."""


class GeometryTask:
    """The geometry path alone."""

    name = "geometry"
    frames_per_sample = 1

    def __init__(self, options: GeometryOptions) -> None:
        if not options.init:
            raise ValueError("init: expected a trained model (--init), got none")
        self.options = options
        source = Path(options.source)
        torch.set_num_threads(options.threads)
        before = load_model(options.init)
        numbers = before.config.au_numbers
        training = load_split(options.data, "train").of(numbers)
        head = landmark_head(source / "ict_facekit_light.npz")
        LOG.info("geometry: looking at the renders")
        self.rendered, self.rendered_targets, errors = _of_renders(before, training)
        LOG.info("geometry: looking at pictures and portraits")
        self.pictures, self.picture_labels, resting = of_pictures(before, source, set(training.info.splits["train"]))
        LOG.info("geometry: %d people at rest, %d pictures, drawing acts", len(resting), len(self.pictures))
        acts = draw_acts(head, options.acts, options.seed)
        self.columns = columns_of(numbers)
        self.sampler = LandmarkSampler(head, fit_people(head, resting), errors, acts)
        raised = (self.picture_labels[:, :2] == 1).any(1)  # AU1 and AU2 come first
        weight = np.where(raised, RAISED, 1.0)
        self.picture_weight = weight / weight.sum()
        held_out = evenly(load_split(options.data, "val").of(numbers), options.eval_frames)
        self.held_out = look_at_sequences(before, held_out)
        self.held_out_labels = held_out.labels.reshape(-1, len(numbers))
        torch.manual_seed(options.seed)
        self.model = grown(before, geometry=options.hidden)

    def parameter_groups(self) -> list[dict[str, Any]]:
        path = self._path(self.model)
        self.model.requires_grad_(False)
        path.requires_grad_(True)
        return decay_groups(path, 1.0, self.options.weight_decay)

    def train_mode(self) -> None:
        self.model.eval()
        self._path(self.model).train()

    def make_batch(self, step: int) -> dict[str, Tensor]:
        options = self.options
        rng = np.random.default_rng([options.seed, step, 3])
        rendered, pictured = round(options.batch * options.render_share), round(options.batch * options.picture_share)
        drawn, intensity = self.sampler.draw(rng, options.batch - rendered - pictured)
        rows = rng.integers(0, len(self.rendered), rendered)
        chosen = rng.choice(len(self.pictures), pictured, p=self.picture_weight)
        seen = np.concatenate(
            (self.rendered[rows], self.sampler.disturb(rng, self.pictures[chosen], PICTURE_ERROR)), dtype=np.float32
        )
        seen = np.where(rng.random((len(seen), 1, 1)) < 0.5, mirrored(seen), seen)
        return {
            "coordinates": torch.from_numpy(np.concatenate((drawn, seen))),
            "targets": torch.cat(
                (
                    graded(intensity[:, self.columns]),
                    torch.from_numpy(self.rendered_targets[rows]),
                    torch.from_numpy(self.picture_labels[chosen]),
                )
            ),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self._path(self.model)(batch["coordinates"])
        even = torch.ones(logits.shape[1], device=logits.device)
        loss = losses.au_loss(logits, batch["targets"], even, self.options.positive_weight)
        return loss, {"geometry": loss}

    @torch.no_grad()
    def evaluate(self, model: Model) -> dict[str, float]:
        path = self._path(model)
        device = next(path.parameters()).device
        said = path(torch.from_numpy(self.held_out.coordinates).to(device)).sigmoid().cpu().numpy()
        table = metrics.per_au(said, self.held_out_labels, np.full(said.shape[1], 0.5))
        return {"geometry_auc": metrics.nanmean(table["auc"]), "geometry_f1": metrics.nanmean(table["f1"])}

    def score(self, results: dict[str, float]) -> float:
        return results["geometry_auc"]

    @staticmethod
    def _path(model: Model) -> torch.nn.Module:
        return model.points.get_submodule("geometry")


def columns_of(au_numbers: tuple[int, ...]) -> list[int]:
    """Where these AUs stand among those of the renders."""
    return [AU_NUMBERS.index(number) for number in au_numbers]


def graded(intensity: NDArray[np.float32]) -> Tensor:
    """Targets (b, n_aus) of intensities, NaN where not known."""
    table = torch.from_numpy(intensity)
    return losses.soft_labels(table, table, torch.zeros(len(table), dtype=torch.bool))


def _of_renders(
    model: Model, sequences: SequenceSet
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates (n, 68, 2) and targets (n, n_aus) of rendered frames, and FAN's errors (k, 68, 2)."""
    renders = sequences.subset(np.flatnonzero(sequences.source == "render"))
    found = look_at_sequences(model, renders).coordinates
    errors = found - normalised(renders.points.reshape(-1, 68, 2))
    held = np.sqrt((errors**2).mean((1, 2))) < WILD
    return found, graded(renders.intensity.reshape(len(found), -1)).numpy(), errors[held]


def of_pictures(
    model: Model, source: Path, identities: set[str], role: str = "train"
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """What FAN finds on pictures of a role and on the portraits of `identities`: coordinates (n, 68, 2), labels
    (n, n_aus) and the points (m, 68, 2) px of those near rest."""
    described, labels, resting = looked_at(model, source, identities, role)
    return described.coordinates, labels, described.points[resting]


def looked_at(
    model: Model, source: Path, identities: set[str], role: str
) -> tuple[Looks, NDArray[np.float32], NDArray[np.bool_]]:
    """Looks (n), labels (n, n_aus) and which are near rest (n,); what the model does not hold for a face is left out.

    The pictures are those of a role (train.data.pictures), the portraits those of `identities`.
    """
    pictures, pixels = read_pictures(source / "faces", role).load()
    portraits = [p for p in read_portraits(source / "portraits") if p.identity in identities]

    def everything() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.floating]]]:
        yield from pixels
        yield from (portrait.load() for portrait in portraits)

    looks = look_at_pictures(model, everything())
    labels = np.concatenate([pictures.labels, *(_portrait_labels(p)[None] for p in portraits)], dtype=np.float32)
    resting = np.concatenate([pictures.rest, [not p.smiling for p in portraits]]).astype(bool)
    held = looks.confidence >= model.config.min_confidence
    labels = labels[:, columns_of(model.config.au_numbers)]
    return Looks(looks.described[held], looks.points[held], looks.confidence[held]), labels[held], resting[held]


def _portrait_labels(portrait: Portrait) -> NDArray[np.float32]:
    """(n_aus,): neutral, every AU off; smiling, what is sure and the brows down."""
    if not portrait.smiling:
        return np.zeros(len(AU_NUMBERS), np.float32)
    labels = smile_labels(portrait.points, None)
    labels[:2] = 0  # AU1 and AU2
    return labels


__all__ = ["GeometryTask", "graded", "looked_at", "of_pictures"]
