"""The label VAEs of a run of the paper: one per data set, made where the run's folder has none that fits."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import PaperOptions
from train.engine.meter import AddScalar, progress_bar
from train.engine.run_folder import Stopped, replacing
from train.losses.alignment import vae_loss
from train.models.label_vae import LATENT, LabelVAE, VAEOptions, labels_digest

LOG = logging.getLogger("train")


def vae_file(folder: Path, corpus: str) -> Path:
    """Where a run has the VAE of a data set."""
    return folder / f"vae-{corpus}.safetensors"


def fit_vae(
    corpus: str,
    labels: NDArray[Any],
    au_numbers: Sequence[int],
    options: PaperOptions,
    folder: Path,
    stop: threading.Event,
    add_scalar: AddScalar,
) -> None:
    """Train the VAE of a data set and write it, unless the folder has it, of the same labels and options.

    Its loss goes to scalars `vae/CORPUS/...`, by epochs.

    Args:
        labels: (N, n) 0/1, NaN where missing; AUs without any label are left out.
        au_numbers: of the columns.

    Raises:
        Stopped: `stop` was set; nothing is written.
        RunError: the file cannot be written.
    """
    path = vae_file(folder, corpus)
    columns = [k for k in range(labels.shape[1]) if not np.isnan(labels[:, k]).all()]
    labels, numbers = labels[:, columns], [au_numbers[k] for k in columns]
    settings = VAEOptions(
        latent=LATENT.get(corpus, 8),
        kl_weight=options.vae_lambda,
        epochs=options.vae_epochs,
        seed=options.seed,
        drop_last=options.vae_drop_last,
    )
    if path.exists():
        if LabelVAE.load(path).is_of(labels, settings, numbers):
            return
        LOG.info("%s was made of other labels or options, or does not say of which; it is trained anew", path)
    LOG.info("label VAE of %s: %d AUs, %d rows, %d epochs", corpus, len(columns), len(labels), settings.epochs)
    with progress_bar() as progress:
        bar = progress.add_task(f"label VAE of {corpus}", total=settings.epochs, rate="", loss="")

        def told(epoch: int, means: dict[str, float]) -> None:
            for name, value in means.items():
                add_scalar(f"vae/{corpus}/{name}", value, epoch)
            progress.update(bar, completed=epoch, loss=f"loss {means['loss']:.3f}")
            if stop.is_set():
                raise Stopped(f"stopped after epoch {epoch} of the label VAE, which begins anew with --resume")

        vae = train_vae(labels, settings, numbers, told)
    with replacing(path) as partial:
        vae.save(partial)


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
