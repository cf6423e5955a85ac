"""The label VAEs of a run of the paper: one per data set, made where the run's folder has none that fits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.config import PaperOptions
from train.meter import AddScalar, progress_bar
from train.rundir import Stopped, replacing
from train.vae import LATENT, LabelVAE, VAEOptions, train_vae

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
