"""Training of the geometry path of the head 'points': landmark coordinates in, AUs and intensities out
(train/recipes/landmarks.py).

FAN and the rest of the head stay as they are. A batch holds drawn landmarks, what FAN found on rendered faces, and what
it found on pictures of real and photorealistic faces with a sure label; each with the person's points at rest, where
they are known, and as good or bad as a runtime would know them. `python -m train fuse` then weighs both paths.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import GeometryOptions
from train.data.sequences import SequenceSet, load_split
from train.engine.loop import decay_groups
from train.evaluation import metrics
from train.evaluation.references import normalised, references
from train.evaluation.sequences import evenly
from train.losses.au import au_loss, soft_labels
from train.models.checkpoint import load_model
from train.models.model import Model, grown, without_geometry
from train.models.points_head import GeometryPath
from train.recipes.landmarks import LandmarkSampler, draw_acts, fit_people, landmark_head, mirrored
from train.recipes.looks import Looks, look_at_pictures, look_at_sequences
from train.synthetic.ict import AU_NUMBERS
from train.synthetic.photos import smile_labels
from train.synthetic.pictures import read_pictures
from train.synthetic.portraits import Portrait, read_portraits

LOG = logging.getLogger("train")
Floats = NDArray[np.float32]
WILD = 0.55
"""Root mean square error of a face's points, tenths of the eye distance, from which on FAN has lost it (a hand before
it): not what its errors are drawn from."""
RAISED = 3.0
"""How much more often a picture with clearly raised brows is drawn: there are few."""
PICTURE_ERROR = 0.4
"""Share of the errors that is added to what FAN found on a picture, which has its own already."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """Of n faces: `coordinates` (n, 68, 2) that FAN found; `reference` (n, 68, 2), the person at rest, zeros where not
    known; `intensity` and `targets` (n, n_aus), NaN where not known."""

    coordinates: Floats
    reference: Floats
    intensity: Floats
    targets: Floats

    def __len__(self) -> int:
        return len(self.coordinates)


class GeometryTask:
    """The geometry path alone, a new one: that of the model to start from, if there is one, is left out."""

    name = "geometry"
    frames_per_sample = 1

    def __init__(self, options: GeometryOptions) -> None:
        if not options.init:
            raise ValueError("init: expected a trained model (--init), got none")
        self.options = options
        source = Path(options.source)
        torch.set_num_threads(options.threads)
        before = load_model(options.init)
        training = load_split(options.data, "train")
        numbers = tuple(sorted({*before.config.au_numbers, *training.info.au_numbers}))
        torch.manual_seed(options.seed)
        self.model = grown(without_geometry(before), numbers, options.hidden, intensity=True)
        head, rng = landmark_head(source / "ict_facekit_light.npz"), np.random.default_rng([options.seed, 4])
        LOG.info("geometry: looking at the renders")
        self.rendered, errors = of_renders(self.model, training.of(numbers), rng)
        LOG.info("geometry: looking at pictures and portraits")
        self.pictures, resting = of_pictures(self.model, source, set(training.info.splits["train"]))
        LOG.info("geometry: %d people at rest, %d pictures, drawing acts", len(resting), len(self.pictures))
        people = fit_people(head, resting)
        if options.rigs:
            head = landmark_head(source / "ict_facekit_light.npz", rigs=Path(options.data) / "rigs")
        acts = draw_acts(head, options.acts, options.seed)
        self.columns = columns_of(numbers)
        self.sampler = LandmarkSampler(head, people, errors, acts)
        raised = (self.pictures.targets[:, [numbers.index(1), numbers.index(2)]] == 1).any(1)
        weight = np.where(raised, RAISED, 1.0)
        self.picture_weight = weight / weight.sum()
        held_out = evenly(load_split(options.data, "val").of(numbers), options.eval_frames)
        self.held_out, _ = of_renders(self.model, held_out, rng)
        renders = held_out.subset(np.flatnonzero(held_out.source == "render"))
        self.held_out_labels = renders.labels.reshape(-1, len(numbers))

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
        drawn, at_rest, intensity = self.sampler.draw(rng, options.batch - rendered - pictured)
        intensity = intensity[:, self.columns]
        rows = rng.integers(0, len(self.rendered), rendered)
        chosen = rng.choice(len(self.pictures), pictured, p=self.picture_weight)
        seen = np.concatenate(
            (
                self.rendered.coordinates[rows],
                self.sampler.disturb(rng, self.pictures.coordinates[chosen], PICTURE_ERROR),
            ),
            dtype=np.float32,
        )
        reference = np.concatenate((self.rendered.reference[rows], self.pictures.reference[chosen]))
        known = reference.any((1, 2)) & (rng.random(len(reference)) >= self.sampler.spread.unknown)
        reference = self.sampler.disturb(rng, reference, PICTURE_ERROR) * known[:, None, None]
        flip = rng.random((len(seen), 1, 1)) < 0.5
        seen, reference = (np.where(flip, mirrored(one), one) for one in (seen, reference))
        return {
            "coordinates": torch.from_numpy(np.concatenate((drawn, seen))),
            "reference": torch.from_numpy(np.concatenate((at_rest, reference), dtype=np.float32)),
            "targets": torch.cat(
                (
                    graded(intensity),
                    torch.from_numpy(self.rendered.targets[rows]),
                    torch.from_numpy(self.pictures.targets[chosen]),
                )
            ),
            "intensity": torch.from_numpy(
                np.concatenate((intensity, self.rendered.intensity[rows], self.pictures.intensity[chosen]))
            ),
        }

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits, strength = self._path(self.model).decide(batch["coordinates"], batch["reference"])
        assert strength is not None
        even = torch.ones(logits.shape[1], device=logits.device)
        presence = au_loss(logits, batch["targets"], even, self.options.positive_weight)
        intensity = au_loss(strength, batch["intensity"], even)
        return presence + intensity, {"geometry": presence, "intensity": intensity}

    @torch.no_grad()
    def evaluate(self, model: Model) -> dict[str, float]:
        path = self._path(model)
        device = next(path.parameters()).device
        coordinates, reference = (
            torch.from_numpy(part).to(device) for part in (self.held_out.coordinates, self.held_out.reference)
        )
        results: dict[str, float] = {}
        for name, rest in (("", reference), ("_unknown", torch.zeros_like(reference))):
            said = path(coordinates, rest).sigmoid().cpu().numpy()
            table = metrics.per_au(said, self.held_out_labels, np.full(said.shape[1], 0.5))
            results |= {f"geometry_{key}{name}": metrics.nanmean(table[key]) for key in ("auc", "f1")}
        return results

    def score(self, results: dict[str, float]) -> float:
        return results["geometry_auc"] + results["geometry_auc_unknown"]

    @staticmethod
    def _path(model: Model) -> GeometryPath:
        assert model.points.geometry is not None
        return model.points.geometry


def columns_of(au_numbers: tuple[int, ...]) -> list[int]:
    """Where these AUs stand among those of the renders."""
    return [AU_NUMBERS.index(number) for number in au_numbers]


def graded(intensity: Floats) -> Tensor:
    """Targets (b, n_aus) of intensities, NaN where not known."""
    table = torch.from_numpy(intensity)
    return soft_labels(table, table, torch.zeros(len(table), dtype=torch.bool))


def of_renders(model: Model, sequences: SequenceSet, rng: np.random.Generator) -> tuple[Seen, Floats]:
    """Rendered frames, and FAN's errors (k, 68, 2)."""
    renders = sequences.subset(np.flatnonzero(sequences.source == "render"))
    found = look_at_sequences(model, renders).coordinates
    errors = found - normalised(renders.points.reshape(-1, 68, 2))
    held = np.sqrt((errors**2).mean((1, 2))) < WILD
    intensity = renders.intensity.reshape(len(found), -1)
    reference = references(renders, found, errors, rng)
    return Seen(found, reference, intensity, graded(intensity).numpy()), errors[held]


def of_pictures(
    model: Model, source: Path, identities: set[str], role: str = "train"
) -> tuple[Seen, NDArray[np.float64]]:
    """Pictures of a role and portraits of `identities`, and the points (m, 68, 2) px of those near rest; a smiling
    portrait has the neutral one of the same person for a reference."""
    looks, labels, resting, names = looked_at(model, source, identities, role)
    reference = portrait_references(looks.coordinates, names, resting)
    unknown = np.full_like(labels, np.nan)
    return Seen(looks.coordinates, reference, unknown, labels), looks.points[resting]


def portrait_references(coordinates: Floats, names: NDArray[np.str_], resting: NDArray[np.bool_]) -> Floats:
    """(n, 68, 2): where a name is not empty, the coordinates of its resting face, if that is another one."""
    at_rest = {name: i for i, name in enumerate(names.tolist()) if name and resting[i]}
    reference = np.zeros_like(coordinates)
    for i, name in enumerate(names.tolist()):
        if name in at_rest and at_rest[name] != i:
            reference[i] = coordinates[at_rest[name]]
    return reference


def looked_at(
    model: Model, source: Path, identities: set[str], role: str
) -> tuple[Looks, Floats, NDArray[np.bool_], NDArray[np.str_]]:
    """Looks (n), labels (n, n_aus), which are near rest (n,) and whose portrait it is (n,), '' of a picture; faces that
    the model does not hold for one are left out.

    The pictures are those of a role (train.synthetic.pictures), the portraits those of `identities`.
    """
    pictures, pixels = read_pictures(source / "faces", role).load()
    portraits = [p for p in read_portraits(source / "portraits") if p.identity in identities]

    def everything() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.floating]]]:
        yield from pixels
        yield from (portrait.load() for portrait in portraits)

    looks = look_at_pictures(model, everything())
    labels = np.concatenate([pictures.labels, *(_portrait_labels(p)[None] for p in portraits)], dtype=np.float32)
    resting = np.concatenate([pictures.rest, [not p.smiling for p in portraits]]).astype(bool)
    labels = labels[:, columns_of(model.config.aus_of("points"))]
    names = np.array(["" for _ in pictures.paths] + [p.identity for p in portraits])
    held = looks.confidence >= model.config.min_confidence
    return looks.subset(held), labels[held], resting[held], names[held]


def _portrait_labels(portrait: Portrait) -> Floats:
    """Those of `AU_NUMBERS`: neutral, every AU off; smiling, what is sure and the brows down."""
    if not portrait.smiling:
        return np.zeros(len(AU_NUMBERS), np.float32)
    labels = smile_labels(portrait.points, None)
    labels[columns_of((1, 2))] = 0
    return labels


__all__ = ["GeometryTask", "Seen", "columns_of", "graded", "looked_at", "of_pictures", "of_renders", "references"]
