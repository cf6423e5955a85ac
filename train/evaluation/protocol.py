"""The paper's protocol (V-B) and what stands beside it: F1 per AU at .5, with and without flip averaging, spread over
folds and seeds, AUC, F1-micro, calibrated thresholds, and the common AUs of two data sets.

A cell is one AU of one frame; a NaN label leaves its cell out. An AU without a positive label has no F1 (NaN, a dash
in print) and does not count in the average.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.evaluation.metrics import best_threshold, f1, nanmean
from train.evaluation.predictions import Predictions

THRESHOLD = 0.5
USUAL_LAMBDA = {"": "0.1", "release": "0.3"}
Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Measures:
    """One set of predictions, measured. Shares in [0, 1]."""

    au_numbers: tuple[int, ...]
    """Those with a label, ascending, n of them."""
    f1: NDArray[np.float64]
    """(n,) at .5."""
    auc: NDArray[np.float64]
    """(n,) area under the ROC curve; NaN where one class is absent."""
    f1_calibrated: NDArray[np.float64]
    """(n,) with thresholds that other subjects of the same part gave; NaN with one subject."""
    f1_micro: float
    """Over all cells together, at .5."""
    positives: NDArray[np.int64]
    """(n,)."""
    known: NDArray[np.int64]
    """(n,) labelled frames."""

    @property
    def average(self) -> float:
        """Mean F1 of the AUs."""
        return nanmean(self.f1)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Runs that differ in fold and seed alone: the mean over seeds of the mean over folds, and spreads."""

    au_numbers: tuple[int, ...]
    f1: NDArray[np.float64]
    """(n,)."""
    auc: NDArray[np.float64]
    f1_calibrated: NDArray[np.float64]
    f1_micro: float
    f1_seed_spread: NDArray[np.float64]
    """(n,) standard deviation (n - 1) over the seeds; NaN with one seed."""
    average: float
    """Mean F1 of the AUs."""
    fold_spread: float
    """Standard deviation of the average over the folds, mean over the seeds; NaN with one fold."""
    seed_spread: float
    """Standard deviation of the average over the seeds; NaN with one seed."""
    f1_pooled: NDArray[np.float64]
    """(n,) F1 over the frames of all folds together, mean over the seeds; some papers print it."""
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    frames: int
    """Of all folds, one seed."""
    runs: tuple[tuple[int, int, float], ...]
    """(seed, fold, average) of each run."""


@dataclasses.dataclass(frozen=True)
class RunKey:
    """What makes runs repetitions of each other."""

    variant: str
    train: str
    """Data set of the training; 'mixture' for more than one."""
    test: str
    """Data set of the rows."""
    motion: str = ""
    space: str = ""
    """'label', or empty for the latent space."""
    vae_lambda: str = ""
    """Empty for the usual one, .1 and .3 in the release."""
    experiment: str = ""
    preset: str = ""
    """'release', or empty for the paper's."""
    epoch: str = ""
    """'best': each run with that of its epochs which is best on the test part; empty: the last."""

    def __str__(self) -> str:
        weight = f"lambda {self.vae_lambda}" if self.vae_lambda else ""
        epoch = f"{self.epoch} epoch" if self.epoch else ""
        rest = "".join(f", {v}" for v in (self.motion, self.space, weight, self.preset, epoch) if v)
        where = f" ({self.experiment})" if self.experiment else ""
        return f"{self.variant or 'model'}{rest}: {self.train} -> {self.test}{where}"


def probabilities(predictions: Predictions, flip: bool = False) -> NDArray[np.float32]:
    """(N, n); with `flip` the mean of the crop and its mirror image, which `Predictions.with_flipped` paired by key: of
    their logits where the run's `extra` says flip_average=logits, as the release does, else of their probabilities.

    Raises:
        ValueError: `flip` without mirrored probabilities.
    """
    own: NDArray[np.float32] = predictions.probabilities
    if not flip:
        return own
    if predictions.flipped is None:
        raise ValueError("flip averaging: expected probabilities of the mirrored crops, got none in this run")
    if predictions.extra.get("flip_average") == "logits":
        return np.asarray(_sigmoid((_logit(own) + _logit(predictions.flipped)) / 2), np.float32)
    return np.asarray((own + predictions.flipped) / 2, np.float32)


def _logit(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of float32 probabilities, which end 1e-7 before 0 and 1 here."""
    clipped = np.clip(values.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def f1_scores(values: Floats, labels: Floats, threshold: float | Floats = THRESHOLD) -> NDArray[np.float64]:
    """F1 per AU (equation 5); `values` >= `threshold` (one, or one per AU) is active.

    Args:
        values, labels: (N, n), NaN labels left out.

    Returns:
        (n,); NaN where no label is 1.
    """
    return f1(values >= np.asarray(threshold), labels)


def micro_f1(values: Floats, labels: Floats) -> float:
    """F1 over all labelled cells together at .5; NaN where no label is 1."""
    known = ~np.isnan(labels)
    return float(f1_scores(values[known][:, None], labels[known][:, None])[0])


def areas(values: Floats, labels: Floats) -> NDArray[np.float64]:
    """Area under the ROC curve per AU, (n,); NaN where one class is absent."""
    from sklearn.metrics import roc_auc_score

    result = np.full(values.shape[1], np.nan)
    for i in range(values.shape[1]):
        known = ~np.isnan(labels[:, i])
        if len(np.unique(labels[known, i])) == 2:
            result[i] = roc_auc_score(labels[known, i], values[known, i])
    return result


def calibrated_f1(values: Floats, labels: Floats, subject: NDArray[np.str_], parts: int = 5) -> NDArray[np.float64]:
    """F1 per AU where each subject's threshold comes from the other subjects (`parts`-fold, in [.2, .8], largest F1).

    It shows how much of an F1 below the AUC's promise is due to the fixed .5. It uses labels of the test part's other
    subjects: print it beside the paper's F1, never in its place.

    Args:
        values, labels: (N, n).  subject: (N,).

    Returns:
        (n,); NaN where no label is 1 and with fewer than two subjects.
    """
    from sklearn.model_selection import GroupKFold

    count = min(parts, len(np.unique(subject)))
    if count < 2:
        return np.full(values.shape[1], np.nan)
    active = np.zeros(values.shape, np.float32)
    for others, own in GroupKFold(count).split(values, groups=subject):
        chosen = [best_threshold(values[others, i], labels[others, i]) for i in range(values.shape[1])]
        active[own] = values[own] >= np.array(chosen)
    return f1_scores(active, labels)


def measure(predictions: Predictions, flip: bool = False) -> Measures:
    """Measure one set on the AUs that have a label. Raises ValueError where none has, or as `probabilities`."""
    labelled = ~np.isnan(predictions.labels).all(0)
    if not labelled.any():
        raise ValueError("predictions: expected labels, got none; this part cannot be measured")
    own = predictions.only(tuple(np.array(predictions.au_numbers)[labelled].tolist()))
    values, labels = probabilities(own, flip), own.labels
    return Measures(
        au_numbers=own.au_numbers,
        f1=f1_scores(values, labels),
        auc=areas(values, labels),
        f1_calibrated=calibrated_f1(values, labels, own.subject),
        f1_micro=micro_f1(values, labels),
        positives=np.nansum(labels, 0).astype(np.int64),
        known=(~np.isnan(labels)).sum(0),
    )


def summarise(runs: Sequence[Predictions], flip: bool = False) -> Summary:
    """Mean and spread of runs that differ in fold and seed; AUs that all of them have labels for.

    Raises:
        ValueError: no run, or one (fold, seed) twice: then something else differs that the runs do not say.
    """
    if not runs:
        raise ValueError("runs: expected at least one, got none")
    pairs = [(run.seed, run.fold) for run in runs]
    double = sorted({pair for pair in pairs if pairs.count(pair) > 1})
    if double:
        raise ValueError(
            f"runs: expected one per seed and fold, got several of seed {double[0][0]}, fold {double[0][1]} "
            f"({runs[0].variant}); give one of them, or say in `extra` what differs"
        )
    measured = dict(zip(pairs, (measure(run, flip) for run in runs), strict=True))
    common = tuple(sorted(set.intersection(*(set(m.au_numbers) for m in measured.values()))))
    seeds, folds = sorted({seed for seed, _ in pairs}), sorted({fold for _, fold in pairs})

    def column(name: str, one: Measures) -> NDArray[np.float64]:
        place = {au: i for i, au in enumerate(one.au_numbers)}
        return np.asarray(getattr(one, name), np.float64)[[place[au] for au in common]]

    def per_seed(name: str) -> NDArray[np.float64]:
        rows = [[column(name, m) for (s, _), m in measured.items() if s == seed] for seed in seeds]
        return np.stack([_mean(np.stack(row)) for row in rows])

    def pooled(seed: int) -> NDArray[np.float64]:
        parts = [run.only(common) for run in runs if run.seed == seed]
        values = np.concatenate([probabilities(part, flip) for part in parts])
        return f1_scores(values, np.concatenate([part.labels for part in parts]))

    scores = per_seed("f1")
    by_fold = [[nanmean(column("f1", m)) for (s, _), m in measured.items() if s == seed] for seed in seeds]
    first = [run for run in runs if run.seed == seeds[0]]
    return Summary(
        au_numbers=common,
        f1=_mean(scores),
        auc=_mean(per_seed("auc")),
        f1_calibrated=_mean(per_seed("f1_calibrated")),
        f1_micro=nanmean(np.array([m.f1_micro for m in measured.values()])),
        f1_seed_spread=np.std(scores, 0, ddof=1) if len(seeds) > 1 else np.full(len(common), np.nan),
        average=nanmean(_mean(scores)),
        fold_spread=nanmean(np.array([_spread(values) for values in by_fold])),
        seed_spread=_spread([nanmean(row) for row in scores]),
        f1_pooled=_mean(np.stack([pooled(seed) for seed in seeds])),
        folds=tuple(folds),
        seeds=tuple(seeds),
        frames=sum(len(run) for run in first),
        runs=tuple((seed, fold, nanmean(column("f1", m))) for (seed, fold), m in sorted(measured.items())),
    )


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is not NaN."""
    return np.array([nanmean(column) for column in rows.T])


def common_aus(*sets: Iterable[int]) -> tuple[int, ...]:
    """AUs that all have, ascending: what a cross-data-set test is measured on (Tables IV and V)."""
    return tuple(sorted(set.intersection(*(set(numbers) for numbers in sets)))) if sets else ()


def groups(runs: Iterable[Predictions]) -> dict[RunKey, list[Predictions]]:
    """Sort runs into repetitions; a run on several data sets is taken apart by the rows' corpus.

    `extra` of a run may say `train_corpus` (without it: the rows' own corpora), `motion`, `alignment_space`,
    `vae_lambda`, `experiment`, `preset` and `chosen_epoch`.
    """
    found: dict[RunKey, list[Predictions]] = {}
    for run in runs:
        corpora = sorted(set(run.corpus.tolist()))
        train = run.extra.get("train_corpus") or ("mixture" if len(corpora) > 1 else corpora[0] if corpora else "")
        train = "mixture" if any(mark in train for mark in ",+ ") else train
        names = ("motion", "alignment_space", "vae_lambda", "experiment", "preset", "chosen_epoch")
        said = {**dict.fromkeys(names, ""), **run.extra}
        space = "" if said["alignment_space"] == "latent" else said["alignment_space"]
        preset = "" if said["preset"] == "paper" else said["preset"]
        weight = "" if said["vae_lambda"] == USUAL_LAMBDA[preset] else said["vae_lambda"]
        for corpus in corpora:
            group = RunKey(
                run.variant, train, corpus, said["motion"], space, weight, said["experiment"], preset,
                said["chosen_epoch"],
            )  # fmt: skip
            part = run if len(corpora) == 1 else run.select(run.corpus == corpus)
            if not np.isnan(part.labels).all():
                found.setdefault(group, []).append(part)
    return found


def read_runs(places: Iterable[str | Path], epoch: str = "last") -> list[Predictions]:
    """Predictions of files, run folders (`predictions*.npz` in them) and folders of run folders, two levels deep.

    `extra` of a run says its `experiment`: the folder that its run folder is in (bp4d of runs/paper/bp4d/aunet-...).

    Args:
        epoch: 'last'; 'best': of each run with kept epochs the one whose mean F1 on the test part is the largest, as
            the release prints it. It is chosen by what it is measured on. Of the others (ResNets) it is the last.

    Raises:
        ValueError: a file that holds something else, another `epoch`, 'best' where no run has kept its epochs.
        FileNotFoundError: nothing there.
    """
    if epoch not in ("last", "best"):
        raise ValueError(f"epoch: expected last or best, got {epoch!r}")
    files: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_file():
            files[place.resolve()] = None
            continue
        if not place.is_dir():
            raise FileNotFoundError(f"{place}: expected a run folder or a predictions.npz, found nothing")
        levels = (sorted(place.glob(f"{above}predictions*.npz")) for above in ("", "*/", "*/*/"))
        found = next((level for level in levels if level), [])
        if not found:
            raise FileNotFoundError(f"{place}: expected predictions.npz of a finished run in it, found none")
        files.update(dict.fromkeys(path.resolve() for path in found))
    runs = []
    for path in files:
        run = (_best_epoch(path.parent) if epoch == "best" else None) or Predictions.load(path)
        runs.append(dataclasses.replace(run, extra={"experiment": path.parent.parent.name, **run.extra}))
    if epoch == "best" and runs and not any(run.extra.get("chosen_epoch") for run in runs):
        raise ValueError("epoch: expected runs with kept epochs for best, found none; train with keep_epochs=true")
    return runs


def _best_epoch(folder: Path) -> Predictions | None:
    """None where the run has kept no epochs."""
    kept = [Predictions.load(path) for path in sorted((folder / "epochs").glob("predictions-*.npz"))]
    if not kept:
        return None
    best = max(kept, key=lambda one: nanmean(f1_scores(one.probabilities, one.labels)))
    return dataclasses.replace(best, extra={**best.extra, "chosen_epoch": "best"})
