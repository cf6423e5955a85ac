"""How much the appearance and the geometry path of the head 'points' count for each AU, and where .5 lies.

Per AU the logit is a * appearance + b * geometry + c (train.models.points_head.Gate). The three numbers are fitted on
the renders of the val identities and on pictures that no path was trained on, once without and once with the person's
points at rest; rows are repeated with either path at its resting value, so that each has to be able to carry a
decision: on smooth skin the furrows that renders often show are missing, and under a hand FAN's points are.

`fit_where_known` is the careful way: it leaves every decision without the points at rest, and every AU that is not
named, to the appearance path, whose logits then stay as they are to the bit.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from train.data.sequences import SequenceSet
from train.evaluation import metrics
from train.models.config import AU_NUMBERS
from train.models.model import Model
from train.recipes.evidence import Evidence, Table, rendered_evidence


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
    fewest: int = 12
    """Frames with an AU, and frames without it, that a domain must have to be counted for it."""
    gain: float = 0.005
    dropout: float = 0.1
    """Share of the weight of rows without the appearance path, and of those without the geometry path."""
    false_rate: float = 0.05
    """Largest share of frames without an AU, per domain, that may read as having it."""
    slack: float = 0.02
    """Of the decisions whose F1 is no more than this below the best one, the most sensitive is taken."""
    looser: float = 0.01
    """By how much more than before."""
    only: tuple[int, ...] | None = None
    """AUs that are fused; None: all. Those that are named need not gain."""
    ridge: float = 1e-3
    """Pull towards the first guess, all of the appearance path and half of the other."""


def fit(
    evidence: list[Evidence], au_numbers: tuple[int, ...] = AU_NUMBERS, options: FusionOptions = FusionOptions()
) -> Weights:
    """Fit the weights; every domain that knows an AU counts alike for it.

    An AU that no domain shows, or one that gains nothing, keeps the appearance path alone and its decision.
    """
    n_aus = evidence[0].labels.shape[1]
    found = np.tile([1.0, 0.0, 0.0], (n_aus, 1))
    for i in range(n_aus):
        if options.only is not None and au_numbers[i] not in options.only:
            continue
        known = [one for one in evidence if min((one.labels[:, i] == on).sum() for on in (0, 1)) >= options.fewest]
        if known:
            fitted = _fit_one([_rows(one, i, options.dropout) for one in known], options.ridge)
            if options.only is None and au_numbers[i] not in options.seen and _gain(known, fitted, i) < options.gain:
                continue
            found[i] = fitted
            found[i, 2] -= _decision(found[i], known, evidence, i, options)
    return Weights(*found.T.copy())


WHERE_KNOWN = FusionOptions(only=(1, 2, 12, 26), false_rate=0.02)
"""For `fit_where_known`: AUs that move points by much, so that real clips show whether it does good."""


def fit_where_known(
    evidence: list[Evidence], au_numbers: tuple[int, ...] = AU_NUMBERS, options: FusionOptions = WHERE_KNOWN
) -> tuple[Weights, Weights]:
    """Weights without and with the person's points at rest, from evidence with them: without them, and for every AU
    but `options.only`, the appearance path counts alone, to the bit."""
    return closed(len(au_numbers)), fit(evidence, au_numbers, options)


def closed(n_aus: int) -> Weights:
    """The appearance path alone."""
    return Weights(np.ones(n_aus), np.zeros(n_aus), np.zeros(n_aus))


def ablation(model: Model, sequences: SequenceSet) -> dict[str, dict[str, dict[str, float]]]:
    """AU -> appearance alone; geometry alone, without and with the points at rest; and both, with them -> `auc` and
    `f1` on rendered frames, where .5 decides; of the AUs of which the geometry path has a say."""
    numbers = model.config.aus_of("points")
    unknown, known = rendered_evidence(model, sequences.of(numbers))
    gate = model.points.gate
    if gate is None or not len(known.labels):
        return {}
    weight, shift = gate.weight.detach().double().numpy(), gate.shift.detach().double().numpy()
    plain, (a, b), c = (weight[0, 0], shift[0]), weight[1], shift[1]
    logits = {
        "appearance": known.appearance * plain[0] + plain[1],
        "geometry, no rest": unknown.geometry,
        "geometry": known.geometry,
        "both": Weights(a, b, c).logits(known),
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for i, number in enumerate(numbers):
        if b[i] == 0:
            continue
        found[f"AU{number}"] = {}
        for name, table in logits.items():
            labels = (unknown if name == "geometry, no rest" else known).labels[:, i]
            found[f"AU{number}"][name] = {
                "auc": metrics.auc(table[:, i], labels),
                "f1": float(metrics.f1(table[:, i] > 0, labels)),
            }
    return found


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
    quality = np.mean(
        [
            metrics.f1(score[:, None] >= candidates, one.labels[:, i, None])
            for score, one in zip(scores, known, strict=True)
        ],
        0,
    )
    least = candidates[int(np.argmax(quality >= quality.max() - options.slack))]
    return float(max(least, *calm))


def _logit(evidence: Evidence, weights: Table, i: int) -> Table:
    return evidence.appearance[:, i] * weights[0] + evidence.geometry[:, i] * weights[1] + weights[2]


def fit_intensity(evidence: list[Evidence], au_numbers: tuple[int, ...], ridge: float = 1e-3) -> Weights:
    """Weights of the intensities' logits, against the intensity itself; half of each path where nothing tells."""
    n_aus = len(au_numbers)
    found = np.tile([0.5, 0.5, 0.0], (n_aus, 1))
    for i in range(n_aus):
        domains = []
        for one in evidence:
            if one.intensity is None:
                continue
            strengths, target = one.intensity
            known = ~np.isnan(target[:, i])
            if known.sum() >= 20 and (target[known, i] > 0.3).any():
                x = strengths[:, known, i].T
                domains.append((x, target[known, i], np.full(len(x), 1 / len(x))))
        if domains:
            found[i] = _fit_one(domains, ridge)
    return Weights(*found.T.copy())


def apply(
    model: Model,
    presence: tuple[Weights, Weights],
    intensity: tuple[Weights, Weights] | None = None,
    only: tuple[int, ...] | None = None,
) -> Model:
    """A model (the same one, changed) whose head 'points' adds its paths with these weights, without and with the
    person's points at rest; .5 decides, for AUs that are not in `only` the thresholds from before."""
    head = model.points
    for gate, weights in ((head.gate, presence), (head.intensity_gate, intensity)):
        if gate is None or weights is None:
            continue
        with torch.no_grad():
            for state, one in enumerate(weights):
                gate.weight[state] = torch.from_numpy(np.stack((one.appearance, one.geometry)))
                gate.shift[state] = torch.from_numpy(one.shift)
    numbers, before = model.config.aus_of("points"), model.config.thresholds_of("points")
    thresholds = tuple(0.5 if only is None or n in only else t for n, t in zip(numbers, before, strict=True))
    model.config = dataclasses.replace(model.config, thresholds={**model.config.thresholds, "points": thresholds})
    return model
