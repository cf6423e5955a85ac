"""The losses of the label VAE: its own (equation 2), and between predictions and labels in its code (equation 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from train.models.label_vae import LabelVAE

SPACES = ("latent", "label")
SPREADS = ("std", "variance", "log-variance", "predicted-std")


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How equation 3 is read. The paper prints squared norms of mu_p - mu_g and Sigma_p - Sigma_g."""

    space: str = "latent"
    """'latent'; 'label': the ablation of section V-E, between the decoder's probabilities."""
    reduction: str = "sum"
    """Over the dimensions of the code (of the labels): 'sum' as a squared norm is, 'mean' as in the release."""
    spread: str = "std"
    """What Sigma stands for: 'std' (what the released encoder returns), 'variance', 'log-variance'; 'predicted-std':
    no difference but the standard deviation of the predictions alone, not squared, which is what the release adds."""

    def __post_init__(self) -> None:
        for name, allowed in (("space", SPACES), ("reduction", ("sum", "mean")), ("spread", SPREADS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")


def vae_loss(
    vae: LabelVAE,
    labels: Tensor,
    kl_weight: float = 0.1,
    noise: float = 0.2,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Equation 2: reconstruction of the clean labels from noisy ones, and the KL divergence from N(0, I).

    Both are sums over their dimensions and means over the rows.

    Args:
        labels: (B, n_aus) 0/1, none missing.
        noise: half width of the uniform noise on what the encoder sees.

    Returns:
        the loss, and its parts "bce" and "kl".
    """
    drawn = torch.rand(labels.shape, generator=generator, device=labels.device, dtype=labels.dtype)
    logits, mean, log_variance = vae(labels + noise * (2 * drawn - 1), generator)
    bce = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1).mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return bce + kl_weight * kl, {"bce": bce, "kl": kl}


def alignment_loss(vae: LabelVAE, probabilities: Tensor, labels: Tensor, how: Alignment | None = None) -> Tensor:
    """Equation 3 through the frozen encoder, as a mean over the rows: |mean_p - mean_g|^2 + |std_p - std_g|^2, or as
    `how` reads it.

    An AU whose label is missing takes its own prediction, without gradient, on both sides: the AUs that are known are
    compared in its presence, and nothing pulls at the one that is not. Rows without any label count for nothing.

    Args:
        vae: frozen (`freeze`).
        probabilities: (B, n_aus), with gradient.
        labels: (B, n_aus) 0/1, NaN where missing.
        how: None: as the paper prints it.
    """
    how = how or Alignment()
    if probabilities.shape != labels.shape or labels.shape[1] != vae.n_aus:
        raise ValueError(
            f"probabilities, labels: expected (B, {vae.n_aus}), got {tuple(probabilities.shape)}, {tuple(labels.shape)}"
        )
    probabilities, labels = probabilities.float(), labels.float()
    known = ~labels.isnan()
    stand_in = probabilities.detach()
    mean_p, log_variance_p = vae.encode(torch.where(known, probabilities, stand_in))
    mean_g, log_variance_g = vae.encode(torch.where(known, labels, stand_in))
    if how.space == "latent":
        terms = (mean_p - mean_g).square() + _spread(log_variance_p, log_variance_g, how.spread)
    else:
        terms = (vae.decode(mean_p).sigmoid() - vae.decode(mean_g).sigmoid()).square()
    rows = terms.sum(1) if how.reduction == "sum" else terms.mean(1)
    counted = known.any(1)
    return (rows * counted).sum() / counted.sum().clamp(min=1)


def _spread(predicted: Tensor, given: Tensor, kind: str) -> Tensor:
    """The second term of equation 3, per dimension of the code, from both log-variances (B, latent)."""
    if kind == "predicted-std":
        return torch.exp(0.5 * predicted)
    if kind != "log-variance":
        power = 0.5 if kind == "std" else 1.0
        predicted, given = torch.exp(power * predicted), torch.exp(power * given)
    return (predicted - given).square()


def mixture_alignment_loss(
    vaes: Mapping[str, LabelVAE],
    au_numbers: Sequence[int],
    corpora: Sequence[str] | NDArray[Any],
    probabilities: Tensor,
    labels: Tensor,
    how: Alignment | None = None,
) -> Tensor:
    """`alignment_loss` of a batch from several data sets, each row through the VAE of its own, over that VAE's AUs.

    Args:
        vaes: by name of the corpus; every corpus of the batch must have one (ValueError).
        au_numbers: FACS numbers of the columns of `probabilities` and `labels`; those of the VAEs among them.
        corpora: (B,) names.

    Returns:
        the mean over the rows of the batch.
    """
    names = np.asarray(corpora)
    if len(names) != len(labels):
        raise ValueError(f"corpora: expected {len(labels)} names, got {len(names)}")
    rows = {name: torch.from_numpy(np.flatnonzero(names == name)) for name in dict.fromkeys(names.tolist())}
    return alignment_by_rows(vaes, au_numbers, rows, probabilities, labels, how)


def alignment_by_rows(
    vaes: Mapping[str, LabelVAE],
    au_numbers: Sequence[int],
    rows: Mapping[str, Tensor],
    probabilities: Tensor,
    labels: Tensor,
    how: Alignment | None = None,
) -> Tensor:
    """`mixture_alignment_loss` where the rows (b,) int64 of each corpus are known: nobody waits for the device."""
    position = {number: i for i, number in enumerate(au_numbers)}
    total = probabilities.new_zeros(())
    known = probabilities.new_zeros(())
    for name, own in rows.items():
        if name not in vaes:
            raise ValueError(f"vaes: expected one for each corpus of the batch, got none for {name!r}; train it first")
        vae = vaes[name]
        if not vae.au_numbers or not set(vae.au_numbers) <= position.keys():
            raise ValueError(
                f"vaes: expected {name!r} to say its AUs, some of {tuple(au_numbers)}, got {vae.au_numbers}"
            )
        columns = [position[number] for number in vae.au_numbers]
        chosen = own.to(labels.device)
        p, y = probabilities[chosen][:, columns], labels[chosen][:, columns]
        counted = (~y.isnan()).any(1).sum()
        total = total + counted * alignment_loss(vae, p, y, how)
        known += counted
    return total / known.clamp(min=1)
