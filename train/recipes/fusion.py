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
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from train.data.sequences import SequenceSet
from train.evaluation import metrics
from train.models.config import AU_NUMBERS
from train.models.model import Model, grown, without_geometry
from train.recipes.geometry_task import graded, looked_at, portrait_references, references
from train.recipes.landmarks import Spread
from train.recipes.looks import Looks, look_at_sequences, normalised

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


def without_path(model: Model) -> Model:
    """A copy of `model` without its geometry path, which says the same where the person's points at rest are not known.

    Raises:
        ValueError: without them it does not decide by the appearance path alone.
    """
    gate = model.points.gate
    if gate is not None:
        given, closed = torch.cat((gate.weight[0], gate.shift[:1])), torch.tensor([[1.0], [0.0], [0.0]])
        if model.config.intensity or not torch.equal(given, closed.expand_as(given)):
            raise ValueError(
                "model: expected one whose geometry path counts only where the points at rest are known, got one of "
                "which it is a part; start from the model that it was added to"
            )
    return without_geometry(model)


def with_path_of(model: Model, other: Model) -> Model:
    """A copy of `model` with the geometry path of `other`: both paths are trained apart, on one FAN.

    Of a path for more AUs those of `model` are taken; it keeps the output for intensities only where `model` has one,
    or where the AUs are the same. ValueError where the FANs differ, or `other` has no such path for the AUs.
    """
    path, theirs = other.points.geometry, other.fan.state_dict()
    numbers, had = model.config.aus_of("points"), other.config.aus_of("points")
    if path is None or not set(numbers) <= set(had):
        raise ValueError(
            f"geometry: expected a model with a geometry path for the AUs {numbers}, got one "
            f"{'without it' if path is None else 'for ' + str(had)}"
        )
    if any(not torch.equal(tensor, theirs[name]) for name, tensor in model.fan.state_dict().items()):
        raise ValueError("geometry: expected a model of the same FAN, got another one")
    made = {name: entry for name, entry in other.config.provenance.items() if name == "geometry"}
    plain = Model(dataclasses.replace(model.config, geometry=0, provenance={**model.config.provenance, **made}))
    plain.load_state_dict(model.state_dict(), strict=False)
    intensity = other.config.intensity and (model.config.intensity or numbers == had)
    wider = grown(plain, geometry=other.config.geometry, intensity=intensity)
    rows = [had.index(number) for number in numbers]
    last = (f"predictor.{len(path.predictor) - 1}.", "intensity.")
    taken = {name: tensor[rows] if name.startswith(last) else tensor for name, tensor in path.state_dict().items()}
    wanted = cast(torch.nn.Module, wider.points.geometry)
    wanted.load_state_dict({name: tensor for name, tensor in taken.items() if name in wanted.state_dict()})
    return wider


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
                "f1": metrics.f1(table[:, i] > 0, labels),
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
    quality = np.mean([_f1(score, one.labels[:, i], candidates) for score, one in zip(scores, known, strict=True)], 0)
    least = candidates[int(np.argmax(quality >= quality.max() - options.slack))]
    return float(max(least, *calm))


def _f1(scores: Table, labels: Table, thresholds: Table) -> Table:
    """(t,): F1 of scores (n,) against labels (n,) 0, 1, NaN at thresholds (t,)."""
    known = ~np.isnan(labels)
    active, positive = scores[known] >= thresholds[:, None], labels[known] > 0.5
    return np.asarray(2 * (active & positive).sum(1) / (active.sum(1) + positive.sum()))


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


__all__ = [
    "WHERE_KNOWN", "Evidence", "FusionOptions", "Weights", "ablation", "apply", "both", "closed", "fit",
    "fit_intensity", "fit_where_known", "paths", "pictured_evidence", "rendered_evidence", "with_path_of",
    "without_path",
]  # fmt: skip
