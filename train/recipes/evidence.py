"""What the appearance and the geometry path say of frames whose AUs are known: what the fusion is fitted on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.sequences import SequenceSet
from train.evaluation.references import normalised, references
from train.models.model import Model
from train.recipes.geometry_task import graded, looked_at, portrait_references
from train.recipes.landmarks import Spread
from train.recipes.looks import Looks, look_at_sequences

Table = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What both paths say of n frames of one domain, (n, n_aus) each.

    appearance, geometry: logits.  targets: in [0, 1], NaN where not known.  labels: 0, 1, NaN.  intensity: the logits
    of both paths' intensities, (2, n, n_aus), and its target in [0, 1]; None where there is none.
    """

    name: str
    appearance: Table
    geometry: Table
    targets: Table
    labels: Table
    intensity: tuple[Table, Table] | None = None


def rendered_evidence(model: Model, sequences: SequenceSet, seed: int = 1) -> tuple[Evidence, Evidence]:
    """Of rendered sequences, with their neighbours in time: without and with the face's points at rest. With them, only
    of those faces of which the set tells them."""
    renders = sequences.subset(np.flatnonzero(sequences.source == "render"))
    looks = look_at_sequences(model, renders)
    frames, own = renders.info.frames, np.arange(len(looks))
    former = np.where(own % frames > 0, own - 1, own)
    later = np.where(own % frames < frames - 1, own + 1, own)
    errors = looks.coordinates - normalised(renders.points.reshape(-1, 68, 2))
    reference = references(renders, looks.coordinates, errors, np.random.default_rng(seed))
    intensity, labels = (part.reshape(len(own), -1) for part in (renders.intensity, renders.labels))
    targets = graded(intensity).double().numpy()
    return both(
        "renders", model, looks, reference, targets, labels.astype(np.float64), (former, later), intensity.astype(float)
    )


def pictured_evidence(
    model: Model, source: Path, identities: set[str], role: str = "fuse", seed: int = 1
) -> tuple[Evidence, Evidence]:
    """Of single pictures and portraits (train.recipes.geometry_task.looked_at): without a reference; and with one,
    those that are near rest, which is their own with a little noise, and smiling portraits, whose is the neutral
    one."""
    looks, labels, resting, names = looked_at(model, source, identities, role)
    reference = portrait_references(looks.coordinates, names, resting)
    noise = np.random.default_rng(seed).normal(0, Spread().bias, looks.coordinates.shape).astype(np.float32)
    reference[resting] = (looks.coordinates + noise)[resting]
    known = labels.astype(np.float64)
    return both("pictures", model, looks, reference, known, known)


def both(
    name: str,
    model: Model,
    looks: Looks,
    reference: NDArray[np.float32],
    targets: Table,
    labels: Table,
    neighbours: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    intensity: Table | None = None,
) -> tuple[Evidence, Evidence]:
    """Evidence of n looks without a reference, and of those with one that is known.

    Args:
        reference: (n, 68, 2), zeros where not known.
        neighbours: rows of the former and of the later frame, (n,) each; None: every frame is alone.
        intensity: (n, n_aus) in [0, 1], NaN where not known.
    """
    own = np.arange(len(looks))
    former, later = neighbours or (own, own)
    found = []
    for rest, rows in ((np.zeros_like(reference), own), (reference, np.flatnonzero(reference.any((1, 2))))):
        appearance, geometry, strengths = paths(model, looks, rest, rows, former, later)
        graded = None if intensity is None or strengths is None else (strengths, intensity[rows])
        found.append(Evidence(name, appearance, geometry, targets[rows], labels[rows], graded))
    return found[0], found[1]


@torch.inference_mode()
def paths(
    model: Model,
    looks: Looks,
    reference: NDArray[np.float32],
    rows: NDArray[np.int64],
    former: NDArray[np.int64],
    later: NDArray[np.int64],
    batch: int = 512,
) -> tuple[Table, Table, Table | None]:
    """Logits (m, n_aus) of the appearance and of the geometry path of `rows` (m,), and the logits (2, m, n_aus) of both
    paths' intensities; reference, former and later as in `both`."""
    head = model.points
    if head.geometry is None:
        raise ValueError("geometry: expected a model with that path; train one with `python -m train geometry`")

    def described(chosen: NDArray[np.int64]) -> torch.Tensor:
        pooled = torch.from_numpy(looks.pooled[chosen]).float()
        return head.describe_pooled(pooled, torch.from_numpy(looks.coordinates[chosen]))

    parts: list[list[Table]] = [[], [], [], []]
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        due = described(chosen)
        seen = head.appearance_of(described(former[chosen]), due, described(later[chosen]))
        moved = head.geometry.decide(due[..., -2:], torch.from_numpy(reference[chosen]))
        for part, said in zip(parts, (seen[0], moved[0], seen[1], moved[1]), strict=True):
            if said is not None:
                part.append(said.double().numpy())
    n_aus = len(model.config.aus_of("points"))
    tables = [np.concatenate(part) if part else np.empty((0, n_aus)) for part in parts]
    return tables[0], tables[1], np.stack(tables[2:]) if head.intensity is not None else None
