"""Losses of the AU heads (equation 1), and the targets that they compare with."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

NEVER = 0.02
"""Rate that an AU counts with which never occurs: equation 1 has no weight for it."""

GRADED_UP_TO = 0.75
"""Intensity from which on a target is 1."""


def soft_labels(intensity: Tensor, labels: Tensor, photo: Tensor) -> Tensor:
    """AU targets in [0, 1], NaN where masked.

    Rendered frames: the intensity over GRADED_UP_TO, also between off and on where there is no hard label, so that
    the probability rises with the movement; photographs: the label itself.

    Args:
        intensity, labels: (B, n), NaN where not known.  photo: (B,) bool.
    """
    return torch.where(photo[:, None], labels, (intensity / GRADED_UP_TO).clamp(0.0, 1.0))


def au_weights(rate: Tensor, floor: float = NEVER) -> Tensor:
    """w_i of equation 1 (paper section IV-A), inverse to the occurrence rate r_i; scaled to mean 1 as in the authors'
    release, where the paper's sum to 1.

    Args:
        rate: (n,) in [0, 1]; NaN, an AU that is not labelled, counts as 1.
        floor: rates below it count as it. Equation 1 has none, and some rates of AffWild2 are below the default, which
            is the default model's: runs of the paper have 0. A rate of 0 counts as `floor`, and as NEVER at least.

    Returns:
        (n,).
    """
    known = torch.nan_to_num(rate, nan=1.0)
    inverse = 1.0 / torch.where(known > 0, known.clamp(min=floor), max(floor, NEVER))
    return inverse / inverse.mean()


def au_loss(logits: Tensor, targets: Tensor, weights: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Equation 1 as a mean over the known labels: weighted binary cross-entropy; NaN targets are masked.

    Args:
        logits, targets: (B, n).  weights: (n,).  positive_weight: of the part that speaks for an AU; equation 1 has 1.
    """
    known = ~targets.isnan()
    error = functional.binary_cross_entropy_with_logits(
        logits.float(),
        torch.nan_to_num(targets),
        weight=weights.expand_as(targets),
        reduction="none",
        pos_weight=torch.full_like(weights, positive_weight),
    )
    return (error * known).sum() / known.sum().clamp(min=1)


def consensus_loss(first: Tensor, second: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Mutual learning: `au_loss` of two heads, each against the probability at the mean of both logits.

    The mean is held fixed; it stands in for the labels that a frame lacks (a photograph shows a few AUs only), so that
    what one head makes of it reaches the other. See Zhang et al., "Deep mutual learning", CVPR 2018.

    Args:
        first, second: logits (B, n).  weights: (n,).  counts: (B,) bool, frames with a face.
    """
    mean = torch.sigmoid((first.detach().float() + second.detach().float()) / 2)
    targets = torch.where(counts[:, None], mean, math.nan)
    return au_loss(first, targets, weights) + au_loss(second, targets, weights)
