"""The label VAE (paper section IV-B): what AUs occur together, learned from labels alone, and the losses made of it.

One VAE per data set, over the AUs which that data set labels. It is trained once on labels (equation 2) and then
frozen; AU-VAE and AUNet compare predictions with labels in its latent space (equation 3) and leave it out afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from train.models.config import ModelFileError
from train.models.tensor_file import write_tensors

LATENT = {"bp4d": 8, "disfa": 6, "affwild2": 5}
"""Latent dimension k per data set (section V-C)."""
LAMBDAS = (0.1, 0.2, 0.3)
"""Among which the paper selects the weight of the KL divergence."""


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
        from train.models.tensor_file import load_exactly

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


def labels_digest(labels: NDArray[Any]) -> str:
    """SHA-256, in hexadecimal, of labels (N, n): 0, 1, NaN where missing; the order of the rows counts."""
    codes = np.where(np.isnan(labels), -1, labels).astype(np.int8)
    return hashlib.sha256(f"{codes.shape}".encode() + np.ascontiguousarray(codes).tobytes()).hexdigest()
