"""Probabilities that can be read: scale and shift of the logits per AU, chosen on the val identities and folded into a
head's last layer.

The scale makes the probabilities follow the graded intensities (Platt's scaling against the soft labels): a head that
learned its training set by heart says 0 or 1 too often. The shift puts the decision with the largest F1 at .5.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from train.data.sequences import SequenceSet
from train.evaluation import metrics
from train.losses.au import soft_labels
from train.models.extra_head import Lids

Floats = NDArray[np.floating]


def soft_targets(sequences: SequenceSet) -> NDArray[np.float32]:
    """(N, F, n) what training aims at, NaN where masked."""
    count, frames, n_aus = sequences.labels.shape
    photo = np.repeat(sequences.source == "photo", frames)
    intensity, labels = (torch.from_numpy(part.reshape(-1, n_aus)) for part in (sequences.intensity, sequences.labels))
    soft = soft_labels(intensity, labels, torch.from_numpy(photo))
    return soft.numpy().reshape(count, frames, n_aus)


def platt(logits: Floats, targets: Floats) -> tuple[float, float]:
    """Scale and shift (a, b) of logits (m,) with the least cross-entropy against targets (m,) in [0, 1]; a in
    [0.1, 3]."""
    z = torch.from_numpy(np.asarray(logits, np.float64))
    t = torch.from_numpy(np.asarray(targets, np.float64))
    parameters = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(parameters[0].exp() * z + parameters[1], t)
        value = value + 1e-3 * (parameters**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    a, b = parameters.detach().tolist()
    return float(np.clip(np.exp(a), 0.1, 3.0)), float(b)


def fit(logits: Floats, targets: Floats, labels: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift per AU such that .5 is the decision.

    Args:
        logits: (m, n).  targets: (m, n) soft, NaN where masked.  labels: (m, n) 0, 1, NaN.

    Returns:
        scale (n,), shift (n,).
    """
    n_aus = logits.shape[1]
    scale, shift = np.ones(n_aus), np.zeros(n_aus)
    for i in range(n_aus):
        known = ~np.isnan(targets[:, i])
        if known.sum() < 20 or not (labels[:, i] == 1).any():
            continue
        scale[i], shift[i] = platt(logits[known, i], targets[known, i])
        probability = 1 / (1 + np.exp(-(scale[i] * logits[:, i] + shift[i])))
        best = metrics.best_threshold(probability, labels[:, i], 0.05, 0.95)
        shift[i] -= np.log(best / (1 - best))
    return scale, shift


@torch.no_grad()
def fold(head: torch.nn.Module, scale: Floats, shift: Floats) -> None:
    """Put scale and shift (n,) of the logits into the last layer of a head, which is the gate of one with two paths,
    and into that of its part for more AUs."""
    among = getattr(head, "among", None)
    if among is not None:
        part = cast(Lids, head.get_submodule("extra"))
        part.rescale(*(torch.from_numpy(values[among.extra]) for values in (scale, shift)))
        scale, shift = scale[among.others], shift[among.others]
    gate = getattr(head, "gate", None)
    if gate is None:
        fold_into(head.get_submodule("predictor"), scale, shift)
        return
    factor = torch.as_tensor(scale, dtype=gate.weight.dtype)
    gate.weight.mul_(factor)
    gate.shift.mul_(factor).add_(torch.as_tensor(shift, dtype=gate.shift.dtype))


@torch.no_grad()
def fold_into(predictor: torch.nn.Module, scale: Floats, shift: Floats) -> None:
    """Put scale and shift (n,) into the last linear layer of a chain of layers."""
    last = list(predictor.children())[-1]
    if not isinstance(last, torch.nn.Linear):
        raise TypeError(f"predictor: expected a linear layer at its end, got {type(last).__name__}")
    factor = torch.as_tensor(scale, dtype=last.weight.dtype)
    last.weight.mul_(factor[:, None])
    last.bias.mul_(factor).add_(torch.as_tensor(shift, dtype=last.bias.dtype))
