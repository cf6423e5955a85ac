"""How well predictions keep the dependencies of the labels (Table X), and whether two models differ (Table XII).

Sources, as the paper cites them:

- L2 distance between adjacency matrices [50]: X. Niu, H. Han, S. Shan, X. Chen, "Multi-label co-regularization for
  semi-supervised facial action unit recognition", NeurIPS 2019. An adjacency matrix of AUs holds how much each pair
  belongs together. The paper's figure 8 takes the correlation coefficient of the two AUs; [50] builds its matrix from
  the conditional probabilities of the labels. READINGS has both, and the correlation of undecided probabilities.
- Dependency F1 [65]: P. Tirupattur, K. Duarte, Y. S. Rawat, M. Shah, "Modeling multi-label action dependencies for
  temporal action localization", CVPR 2021: the action-conditional F1 within a time step (tau = 0). For each ordered
  pair of different AUs (i, j), precision and recall of i over the frames where j is labelled active; pairs that never
  occur together are left out; F1 of the mean precision and the mean recall.
- Paired t-test: `scipy.stats.ttest_rel`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from train.evaluation.metrics import nanmean
from train.evaluation.predictions import Predictions
from train.evaluation.protocol import THRESHOLD, Floats, f1_scores, probabilities

READINGS = ("decisions", "conditional", "probabilities")
"""What an adjacency matrix of predictions holds: correlations of the decisions at .5 (figure 8), conditional
probabilities of the decisions ([50]), correlations of the probabilities."""


def conditional(values: Floats) -> NDArray[np.float64]:
    """Share of AU i among the frames where AU j is active and i known.

    Args:
        values: (N, n) 0 and 1, NaN left out.

    Returns:
        (n, n), row i, column j, 1 on the diagonal; 0 where j is never active, NaN where no frame has both.
    """
    known = (~np.isnan(values)).astype(np.float64)
    active = np.nan_to_num(values).astype(np.float64)
    count = known.T @ active
    share = np.where(count > 0, active.T @ active / np.maximum(count, 1.0), 0.0)
    share = np.where(known.T @ known > 0, share, np.nan)
    np.fill_diagonal(share, np.where(np.diag(known.T @ known) > 0, 1.0, np.nan))
    return share


def adjacency(values: Floats) -> NDArray[np.float64]:
    """Correlation coefficients of the AUs over the frames where both are known.

    Args:
        values: (N, n) labels (NaN left out pair by pair) or probabilities.

    Returns:
        (n, n), symmetric, 1 on the diagonal; 0 where one of the two does not vary, NaN where no frame has both.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    weight = known.astype(np.float64)
    count = weight.T @ weight
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_i = filled.T @ weight / count
        square_i = (filled**2).T @ weight / count
        covariance = filled.T @ filled / count - mean_i * mean_i.T
        variance_i = square_i - mean_i**2
        scale = np.sqrt(np.maximum(variance_i * variance_i.T, 0.0))
        result = np.where(scale > 1e-12, covariance / scale, np.where(count > 0, 0.0, np.nan))
    np.fill_diagonal(result, np.where(np.diag(count) > 0, 1.0, np.nan))
    return np.clip(result, -1.0, 1.0)


def adjacency_distance(predictions: Predictions, flip: bool = False, reading: str = "decisions") -> float:
    """L2 (Frobenius) distance between the adjacency matrices of predictions and labels, same cells in both.

    Args:
        reading: of READINGS (ValueError).
    """
    if reading not in READINGS:
        raise ValueError(f"adjacency: expected one of {', '.join(READINGS)}, got {reading!r}")
    values = probabilities(predictions, flip)
    values = values if reading == "probabilities" else (values >= THRESHOLD).astype(np.float32)
    matrix = conditional if reading == "conditional" else adjacency
    difference = matrix(np.where(np.isnan(predictions.labels), np.nan, values)) - matrix(predictions.labels)
    return float(np.sqrt(np.nansum(difference**2)))


@dataclasses.dataclass(frozen=True)
class DependencyScore:
    """Action-conditional measures within a frame, in [0, 1]; NaN where no two AUs occur together."""

    precision: float
    recall: float
    f1: float
    pairs: int
    """Ordered pairs of AUs that occur together."""


def dependency_score(predictions: Predictions, flip: bool = False) -> DependencyScore:
    """Dependency F1 of [65] at .5. A pair whose AU i is never predicted where j is active has precision 0."""
    labels = predictions.labels
    known = ~np.isnan(labels)
    active = (probabilities(predictions, flip) >= THRESHOLD) & known
    positive = (np.nan_to_num(labels) > 0.5).astype(np.float64)
    hits = (active * positive).T @ positive  # (i, j): predicted and labelled i, labelled j
    predicted = active.T.astype(np.float64) @ positive
    together = positive.T @ positive
    use = (together > 0) & ~np.eye(len(together), dtype=bool)
    if not use.any():
        return DependencyScore(float("nan"), float("nan"), float("nan"), 0)
    precision = float(np.mean(hits[use] / np.maximum(predicted[use], 1.0)))
    recall = float(np.mean(hits[use] / together[use]))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return DependencyScore(precision, recall, f1, int(use.sum()))


def both(predictions: Predictions, flip: bool = False, reading: str = "decisions") -> tuple[float, float]:
    """(L2 distance of the adjacency matrices, dependency F1) on the AUs that have a label: a column of Table X."""
    known = ~np.isnan(predictions.labels).all(0)
    own = predictions.only(tuple(np.array(predictions.au_numbers)[known].tolist()))
    return adjacency_distance(own, flip, reading), dependency_score(own, flip).f1


@dataclasses.dataclass(frozen=True)
class TTest:
    """A paired t-test of a baseline against a variant; t < 0: the variant's values are larger."""

    t: float
    p: float
    pairs: int
    difference: float
    """Mean of variant minus baseline."""


def paired_t_test(baseline: Predictions, variant: Predictions, of: str = "predictions", flip: bool = False) -> TTest:
    """Table XII: does a variant differ from its baseline on the same frames? Rows are paired by key.

    Args:
        of: 'predictions' as the paper: probabilities of all labelled cells. Its pairs are neither independent (frames
            of one video) nor about being right: a variant that says more of everything differs as well.
            'subjects': the mean F1 of each subject, which are independent of each other; the answer to read.

    Raises:
        ValueError: different frames or AUs, another `of`.
    """
    from scipy import stats

    if variant.au_numbers != baseline.au_numbers:
        raise ValueError(f"t-test: expected the same AUs, got {baseline.au_numbers} and {variant.au_numbers}")
    place = {key: row for row, key in enumerate(variant.keys())}
    missing = [key for key in baseline.keys() if key not in place]
    if missing or len(place) != len(baseline):
        raise ValueError(
            f"t-test: expected the same frames, got {len(baseline)} and {len(place)}"
            + (f"; {missing[0]} is in one only" if missing else "")
        )
    other = variant.select(np.array([place[key] for key in baseline.keys()], np.int64))
    known = ~np.isnan(baseline.labels) & ~np.isnan(other.labels)
    first, second = probabilities(baseline, flip), probabilities(other, flip)
    if of == "predictions":
        a, b = first[known].astype(np.float64), second[known].astype(np.float64)
    elif of == "subjects":
        labels = np.where(known, baseline.labels, np.nan)
        rows = [baseline.subject == name for name in sorted(set(baseline.subject.tolist()))]
        a = np.array([nanmean(f1_scores(first[row], labels[row])) for row in rows])
        b = np.array([nanmean(f1_scores(second[row], labels[row])) for row in rows])
        scored = ~np.isnan(a)
        a, b = a[scored], b[scored]
    else:
        raise ValueError(f"t-test: expected of 'predictions' or 'subjects', got {of!r}")
    difference = nanmean(b - a)
    if len(a) < 2 or np.ptp(b - a) == 0:  # no spread: equal models, or one pair
        return TTest(float("nan"), float("nan"), len(a), difference)
    result = stats.ttest_rel(a, b)
    return TTest(float(result.statistic), float(result.pvalue), len(a), difference)
