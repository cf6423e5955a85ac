"""How much the appearance and the geometry path of the head 'points' count for each AU, and where .5 lies.

Per AU the logit is a * appearance + b * geometry + c. The three numbers are fitted on the renders of the val identities
and on pictures that no path was trained on; rows are repeated with either path at its resting value, so that each has
to be able to carry a decision: on smooth skin the furrows that renders always show are missing, and under a hand FAN's
points are.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from train import metrics
from train.data.sequences import SequenceSet
from train.geometry import graded, looked_at
from train.looks import look_at_sequences
from train.model import AU_NUMBERS, Model

Table = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What both paths say of n frames of one domain, (n, n_aus) each.

    appearance, geometry: logits.  targets: in [0, 1], NaN where not known.  labels: 0, 1, NaN.
    """

    name: str
    appearance: Table
    geometry: Table
    targets: Table
    labels: Table


@dataclasses.dataclass(frozen=True)
class Weights:
    """(n_aus,) each: logit = appearance * a + geometry * b + c."""

    appearance: Table
    geometry: Table
    shift: Table

    def logits(self, evidence: Evidence) -> Table:
        """(n, n_aus)."""
        return evidence.appearance * self.appearance + evidence.geometry * self.geometry + self.shift


@dataclasses.dataclass(frozen=True)
class FusionOptions:
    """How the paths are weighed."""

    seen: tuple[int, ...] = (1, 2, 12, 25, 26)
    """Those that pictures and clips of real faces tell for sure. The paths of another AU are fused only where that
    raises its AUC by `gain`: nothing but renders could show whether it does good."""
    gain: float = 0.005
    dropout: float = 0.1
    """Share of the weight of rows without the appearance path, and of those without the geometry path."""
    false_rate: float = 0.05
    """Largest share of frames without an AU, per domain, that may read as having it."""
    slack: float = 0.02
    """Of the decisions whose F1 is no more than this below the best one, the most sensitive is taken."""
    looser: float = 0.01
    """By how much more than before."""
    ridge: float = 1e-3
    """Pull towards the first guess, all of the appearance path and half of the other."""


def rendered_evidence(model: Model, sequences: SequenceSet) -> Evidence:
    """Of rendered sequences, with their neighbours in time."""
    renders = sequences.subset(np.flatnonzero(sequences.source == "render"))
    described = look_at_sequences(model, renders).described
    frames, own = renders.info.frames, np.arange(len(described))
    former = np.where(own % frames > 0, own - 1, own)
    later = np.where(own % frames < frames - 1, own + 1, own)
    intensity = renders.intensity.reshape(len(own), -1)
    appearance, geometry = paths(model, described[former], described, described[later])
    labels = renders.labels.reshape(len(own), -1)
    return Evidence("renders", appearance, geometry, graded(intensity).double().numpy(), labels.astype(np.float64))


def pictured_evidence(model: Model, source: Path, identities: set[str], role: str = "fuse") -> Evidence:
    """Of single pictures and portraits (train.geometry.looked_at)."""
    looks, labels, _ = looked_at(model, source, identities, role)
    appearance, geometry = paths(model, looks.described, looks.described, looks.described)
    known = labels.astype(np.float64)
    return Evidence("pictures", appearance, geometry, known, known)


@torch.inference_mode()
def paths(
    model: Model, former: NDArray[np.float32], due: NDArray[np.float32], later: NDArray[np.float32]
) -> tuple[Table, Table]:
    """Logits (n, n_aus) of the appearance and of the geometry path, from P (n, 68, d + 2) of three frames."""
    head = model.points
    if head.geometry is None:
        raise ValueError("geometry: expected a model with that path; train one with `python -m train geometry`")
    parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in (former, due, later))
    f, d, n = parts
    return head.appearance(f, d, n).double().numpy(), head.geometry(d[..., -2:]).double().numpy()


def fit(
    evidence: list[Evidence], au_numbers: tuple[int, ...] = AU_NUMBERS, options: FusionOptions = FusionOptions()
) -> Weights:
    """Fit the weights; every domain that knows an AU counts alike for it.

    An AU that no domain shows, or one that gains nothing, keeps the appearance path alone and its decision.
    """
    n_aus = evidence[0].labels.shape[1]
    found = np.tile([1.0, 0.0, 0.0], (n_aus, 1))
    for i in range(n_aus):
        known = [one for one in evidence if (one.labels[:, i] == 1).sum() >= 5 and (one.labels[:, i] == 0).sum() >= 5]
        if known:
            fitted = _fit_one([_rows(one, i, options.dropout) for one in known], options.ridge)
            if au_numbers[i] not in options.seen and _gain(known, fitted, i) < options.gain:
                continue
            found[i] = fitted
            found[i, 2] -= _decision(found[i], known, evidence, i, options)
    return Weights(*found.T.copy())


def _rows(evidence: Evidence, i: int, dropout: float) -> tuple[Table, Table, Table]:
    """x (m, 2), targets (m,), weights (m,) with sum 1 of one AU: as seen, without appearance, without geometry."""
    known = ~np.isnan(evidence.targets[:, i])
    x = np.stack((evidence.appearance[known, i], evidence.geometry[known, i]), 1)
    targets = evidence.targets[known, i]
    rest = np.median(x[targets <= 0.2], axis=0) if (targets <= 0.2).any() else np.zeros(2)
    parts, weights = [x], [1 - 2 * dropout]
    for column in range(2):
        dropped = x.copy()
        dropped[:, column] = rest[column]
        parts.append(dropped)
        weights.append(dropout)
    return np.concatenate(parts), np.tile(targets, 3), np.repeat(weights, len(x)) / len(x)


def _fit_one(domains: list[tuple[Table, Table, Table]], ridge: float) -> Table:
    """(a, b, c) of one AU; a and b are not negative."""
    x, targets, weights = (torch.from_numpy(np.concatenate([domain[k] for domain in domains])) for k in range(3))
    start = torch.tensor([1.0, 0.5], dtype=torch.float64)
    free = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = x @ (start * free[:2].exp()) + free[2]
        value = functional.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
        value = value + ridge * (free**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        return torch.cat((start * free[:2].exp(), free[2:])).numpy()


def _gain(known: list[Evidence], weights: Table, i: int) -> float:
    """By how much the mean AUC over the domains is above that of the appearance path alone."""
    return float(
        np.mean(
            [
                metrics.auc(one.appearance[:, i] * weights[0] + one.geometry[:, i] * weights[1], one.labels[:, i])
                - metrics.auc(one.appearance[:, i], one.labels[:, i])
                for one in known
            ]
        )
    )


def _decision(
    weights: Table, known: list[Evidence], everything: list[Evidence], i: int, options: FusionOptions
) -> float:
    """The logit from which on the AU shall be active: as sensitive as can be while no domain with 50 or more frames
    without the AU has more of them active than the appearance path alone has, which .5 decides, nor than `false_rate`;
    and never more sensitive than is best for the mean F1 over the domains that show the AU, by `slack`."""
    calm = [-np.inf]
    for one in everything:
        off = one.labels[:, i] == 0
        if off.sum() >= 50:
            allowed = min(options.false_rate, float((one.appearance[off, i] > 0).mean()) + options.looser)
            calm.append(float(np.quantile(_logit(one, weights, i)[off], 1 - allowed)))
    scores = [_logit(one, weights, i) for one in known]
    candidates = np.quantile(np.concatenate(scores), np.linspace(0.02, 0.995, 200))
    quality = [
        np.mean([metrics.f1(score >= t, one.labels[:, i]) for score, one in zip(scores, known, strict=True)])
        for t in candidates
    ]
    least = candidates[int(np.argmax(np.array(quality) >= max(quality) - options.slack))]
    return float(max(least, *calm))


def _logit(evidence: Evidence, weights: Table, i: int) -> Table:
    return evidence.appearance[:, i] * weights[0] + evidence.geometry[:, i] * weights[1] + weights[2]


def apply(model: Model, weights: Weights) -> Model:
    """A model (the same one, changed) whose head 'points' adds its paths with these weights; .5 decides."""
    gate = model.points.gate
    assert gate is not None
    with torch.no_grad():
        gate.weight.copy_(torch.from_numpy(np.stack((weights.appearance, weights.geometry))))
        gate.shift.copy_(torch.from_numpy(weights.shift))
    even = (0.5,) * len(model.config.au_numbers)
    model.config = dataclasses.replace(model.config, thresholds={**model.config.thresholds, "points": even})
    return model


__all__ = ["Evidence", "FusionOptions", "Weights", "apply", "fit", "paths", "pictured_evidence", "rendered_evidence"]
