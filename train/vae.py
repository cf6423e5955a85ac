"""The label VAE (paper section IV-B): what AUs occur together, learned from labels alone, and the losses made of it.

One VAE per data set, over the AUs which that data set labels. It is trained once on labels (equation 2) and then
frozen; AU-VAE and AUNet compare predictions with labels in its latent space (equation 3) and leave it out afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from train.model_config import ModelFileError
from train.tensor_file import write_tensors

LATENT = {"bp4d": 8, "disfa": 6, "affwild2": 5}
"""Latent dimension k per data set (section V-C)."""
LAMBDAS = (0.1, 0.2, 0.3)
"""Among which the paper selects the weight of the KL divergence."""
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


@dataclasses.dataclass(frozen=True)
class VAEOptions:
    """Training of a label VAE; the defaults are the paper's (sections IV-B, V-C), batch size that of the release."""

    latent: int = 8
    """Latent dimension k."""
    hidden: int | None = None
    """Hidden units of encoder and decoder; None: as many as `latent`, as in the authors' release."""
    kl_weight: float = 0.1
    """Lambda of equation 2, out of .1, .2, .3."""
    noise: float = 0.2
    """Uniform noise (-noise, noise) on the labels that the encoder sees."""
    lr: float = 1e-3
    """Adam's, without weight decay."""
    epochs: int = 100
    batch: int = 128
    seed: int = 1
    drop_last: bool = False
    """Leave out the rows that do not fill the last batch of an epoch, as the release does."""

    def __post_init__(self) -> None:
        for name in ("latent", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.kl_weight < 0 or self.noise < 0 or self.lr <= 0:
            raise ValueError(
                f"kl_weight, noise, lr: expected no negative number, got {self.kl_weight}, {self.noise}, {self.lr}"
            )


class LabelVAE(nn.Module):
    """Labels (B, n_aus) -> Gaussian over the latent space -> logits of the labels (B, n_aus).

    Encoder: Linear(n, hidden), ReLU, and one Linear(hidden, latent) each for mean and log-variance. Decoder:
    Linear(latent, hidden), ReLU, Linear(hidden, n).

    Args:
        au_numbers: FACS numbers of the columns, where they are known; `mixture_alignment_loss` needs them.
    """

    def __init__(self, n_aus: int, latent: int, hidden: int | None = None, au_numbers: Sequence[int] = ()) -> None:
        super().__init__()
        hidden = hidden or latent
        if au_numbers and len(au_numbers) != n_aus:
            raise ValueError(f"au_numbers: expected {n_aus}, got {len(au_numbers)}")
        self.n_aus, self.latent, self.hidden = n_aus, latent, hidden
        self.au_numbers = tuple(int(number) for number in au_numbers)
        self.provenance: dict[str, Any] = {}
        self.fc1 = nn.Linear(n_aus, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, n_aus)

    def encode(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels or probabilities (B, n_aus) -> mean (B, latent), log-variance (B, latent)."""
        h = functional.relu(self.fc1(labels))
        return self.fc21(h), self.fc22(h)

    def decode(self, code: Tensor) -> Tensor:
        """Code (B, latent) -> logits (B, n_aus)."""
        return cast(Tensor, self.fc4(functional.relu(self.fc3(code))))

    def forward(self, labels: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean, log-variance; the code is drawn in training and is the mean in evaluation."""
        mean, log_variance = self.encode(labels)
        code = mean
        if self.training:
            draw = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
            code = mean + torch.exp(0.5 * log_variance) * draw
        return self.decode(code), mean, log_variance

    def freeze(self) -> LabelVAE:
        """Prepare the VAE for the alignment loss: no gradients into it, evaluation mode."""
        self.zero_grad(set_to_none=True)
        return self.requires_grad_(False).eval()

    def is_of(self, labels: NDArray[Any], options: VAEOptions, au_numbers: Sequence[int]) -> bool:
        """Whether `train_vae` made it of these labels (N, n), options and AUs; one from before a VAE kept a digest of
        its labels is not known to be, and an option that is younger than the VAE had its default."""
        had = {**dataclasses.asdict(VAEOptions()), **self.provenance.get("options", {})}
        same = had == dataclasses.asdict(options) and self.au_numbers == tuple(au_numbers)
        return same and self.provenance.get("labels") == labels_digest(labels)

    def save(self, path: str | Path) -> None:
        """One safetensors file; sizes, AUs and provenance in its metadata. OSError where it cannot be written."""
        config = {
            "n_aus": self.n_aus,
            "latent": self.latent,
            "hidden": self.hidden,
            "au_numbers": list(self.au_numbers),
            "provenance": self.provenance,
        }
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.state_dict().items()}
        write_tensors(tensors, path, {"label_vae": json.dumps(config)})

    @classmethod
    def load(cls, path: str | Path) -> LabelVAE:
        """A VAE of `save`, frozen. Raises FileNotFoundError, ModelFileError."""
        from train.weights import load_exactly

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"VAE: expected a .safetensors file at {path}, found none; train it (train vae)")
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("label_vae")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ModelFileError(f"VAE: expected a safetensors file, got {path}: {error}") from error
        if text is None:
            raise ModelFileError(f"VAE: expected metadata 'label_vae' in {path}, got none; it is no file of LabelVAE")
        config = json.loads(text)
        vae = cls(config["n_aus"], config["latent"], config["hidden"], config["au_numbers"])
        vae.provenance = config["provenance"]
        load_exactly(vae, tensors, str(path))
        return vae.freeze()


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
    position = {number: i for i, number in enumerate(au_numbers)}
    total = probabilities.new_zeros(())
    rows = 0.0
    for name in dict.fromkeys(names.tolist()):
        if name not in vaes:
            raise ValueError(f"vaes: expected one for each corpus of the batch, got none for {name!r}; train it first")
        vae = vaes[name]
        if not vae.au_numbers or not set(vae.au_numbers) <= position.keys():
            raise ValueError(
                f"vaes: expected {name!r} to say its AUs, some of {tuple(au_numbers)}, got {vae.au_numbers}"
            )
        columns = [position[number] for number in vae.au_numbers]
        chosen = torch.from_numpy(np.flatnonzero(names == name)).to(labels.device)
        p, y = probabilities[chosen][:, columns], labels[chosen][:, columns]
        counted = float((~y.isnan()).any(1).sum())
        total = total + counted * alignment_loss(vae, p, y, how)
        rows += counted
    return total / max(rows, 1.0)


def train_vae(
    labels: NDArray[Any] | Tensor,
    options: VAEOptions | None = None,
    au_numbers: Sequence[int] = (),
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> LabelVAE:
    """Train a VAE on labels; the last epoch's is returned, frozen (section V-C).

    The same seed and labels give the same weights on the same machine; the global random state is left as it was.

    Args:
        labels: (N, n) 0/1; rows with a missing label (NaN) are left out.
        progress: called after every epoch with its number (from 1) and the means of "loss", "bce" and "kl" over it.

    Raises:
        ValueError: not (N, n), a value other than 0, 1 and NaN, or no row without a missing label.
    """
    options = options or VAEOptions()
    table = torch.as_tensor(np.asarray(labels), dtype=torch.float32)
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(f"labels: expected (N, n), got {tuple(table.shape)}")
    if not bool(((table == 0) | (table == 1) | table.isnan()).all()):
        raise ValueError("labels: expected 0, 1, or NaN where missing, got other values; mask or threshold them first")
    whole = table[~table.isnan().any(1)]
    if not len(whole):
        raise ValueError(
            f"labels: expected rows without a missing label, got none among {len(table)}; choose fewer AUs for this VAE"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        vae = LabelVAE(whole.shape[1], options.latent, options.hidden, au_numbers)
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.Adam(vae.parameters(), lr=options.lr, fused=True)
    vae.train()
    for epoch in range(1, options.epochs + 1):
        sums = {"loss": 0.0, "bce": 0.0, "kl": 0.0}
        order = torch.randperm(len(whole), generator=generator)
        seen = len(order) // options.batch * options.batch if options.drop_last else 0  # fewer than a batch: all of it
        for rows in order[: seen or len(order)].split(options.batch):
            loss, parts = vae_loss(vae, whole[rows], options.kl_weight, options.noise, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            for name, value in (("loss", loss), *parts.items()):
                sums[name] += float(value.detach()) * len(rows)
        if progress is not None:
            progress(epoch, {name: value / (seen or len(whole)) for name, value in sums.items()})
    vae.provenance = {
        "options": dataclasses.asdict(options),
        "labels": labels_digest(table.numpy()),
        "rows": len(whole),
        "left_out": len(table) - len(whole),
    }
    return vae.freeze()


def labels_digest(labels: NDArray[Any]) -> str:
    """SHA-256, in hexadecimal, of labels (N, n): 0, 1, NaN where missing; the order of the rows counts."""
    codes = np.where(np.isnan(labels), -1, labels).astype(np.int8)
    return hashlib.sha256(f"{codes.shape}".encode() + np.ascontiguousarray(codes).tobytes()).hexdigest()
