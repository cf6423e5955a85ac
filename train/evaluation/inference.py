"""What networks of the paper say about rows of a set of triplets: in batches, on any device, by several processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.triplets import TripletSet
from train.engine.distributed import Group, rows_of
from train.engine.loader import batches
from train.engine.run_folder import Stopped
from train.evaluation.predictions import Predictions
from train.models.variants import Network

ROWS_AT_ONCE = 16
"""Triplets per pass."""


def features_of(network: Network, crops: Tensor) -> Tensor:
    """uint8 (B, F, R, R, 3), on the network's device -> features (B, F, C, h, w)."""
    frames = crops.flatten(0, 1).permute(0, 3, 1, 2).float().div_(255.0)
    return network.features(frames).unflatten(0, crops.shape[:2])


def logits_of(network: Network, batch: dict[str, Tensor]) -> Tensor:
    """Logits (B, n) of a batch on the network's device: of its `crops`, or of the features `due` and `near` that were
    kept of them."""
    if "due" in batch:
        near = batch["near"].float() if "near" in batch else None
        return network.decide_kept(batch["due"].to(torch.float32, memory_format=torch.channels_last), near)
    return _decide(network, features_of(network, batch["crops"]))


def _decide(network: Network, features: Tensor) -> Tensor:
    return network.decide(features[:, 0], features[:, features.shape[1] // 2], features[:, -1])


def stacked_crops(
    data: TripletSet, rows: Sequence[int], neighbours: bool, draws: Sequence[np.random.Generator] | None = None
) -> NDArray[np.uint8]:
    """(B, 3 or 1, R, R, 3) uint8 RGB; without `neighbours` the due frame alone, and nothing else is read.

    Args:
        draws: source of each row's augmentation; None: plain crops.
    """
    sources: Sequence[np.random.Generator | None] = draws or [None] * len(rows)
    return np.stack([data.crops(row, rng, neighbours) for row, rng in zip(rows, sources, strict=True)])


@torch.inference_mode()
def predict(
    networks: Sequence[Network],
    data: TripletSet,
    rows: NDArray[np.int64],
    *,
    flip: bool = False,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    batch: int = ROWS_AT_ONCE,
    workers: int = 1,
    group: Group | None = None,
    stop: threading.Event | None = None,
) -> list[list[NDArray[np.float32]]]:
    """Probabilities of rows of a set.

    Args:
        networks: on `device`; those after the first have the features of the first, and so must share its FAN.
        flip: also of the mirrored crops.
        dtype: float32, or what autocast computes in.
        batch: triplets per pass.
        workers: threads that prepare crops while the device computes.
        group: processes that share the rows; each has the whole result.
        stop: set where this is to end; a progress bar is shown where it is given.

    Returns:
        per network: (len(rows), n) float32 in [0, 1], and with `flip` a second one.

    Raises:
        Stopped: `stop` was set.
    """
    device, group = device or torch.device("cpu"), group or Group()
    for network in networks:
        network.eval()
    neighbours = any(network.contexts for network in networks)
    own = rows[rows_of(len(rows), group.rank, group.size)]
    chunks = [own[k : k + batch].tolist() for k in range(0, len(own), batch)]

    def load(k: int) -> Tensor:
        crops = torch.from_numpy(stacked_crops(data, chunks[k], neighbours))
        return crops.pin_memory() if device.type == "cuda" else crops

    said: list[list[list[Tensor]]] = [
        [[torch.empty(0, _outputs(networks[0]))] for _ in range(1 + flip)] for _ in networks
    ]
    for crops in _shown(batches(load, 0, len(chunks), workers=workers), len(chunks), stop is not None):
        crops = crops.to(device, non_blocking=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for mirrored in range(1 + flip):
                features = features_of(networks[0], crops.flip(3) if mirrored else crops)
                for network, parts in zip(networks, said, strict=True):
                    parts[mirrored].append(_decide(network, features).float().sigmoid().cpu())
        if stop is not None and stop.is_set():
            raise Stopped("stopped before the predictions were written; the training is done: --resume writes them")
    return [[group.gather(torch.cat(side)).numpy() for side in parts] for parts in said]


def predictions_of(
    network: Network,
    au_numbers: Sequence[int],
    data: TripletSet,
    *,
    flip: bool = False,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    batch: int = ROWS_AT_ONCE,
    workers: int = 1,
) -> Predictions:
    """What a network says about a whole set, on the AUs that both have; it is moved to the device.

    Args:
        au_numbers: of the network's outputs.  Others: as `predict`.
    """
    device = device or torch.device("cpu")
    common = tuple(au for au in au_numbers if au in data.au_numbers)
    own = [list(au_numbers).index(au) for au in common]
    moved = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    (both,) = predict(
        [moved], data, np.arange(len(data)), flip=flip, device=device, dtype=dtype, batch=batch, workers=workers,
        stop=threading.Event(),
    )  # fmt: skip
    return Predictions(
        both[0][:, own],
        data.labels[:, [data.au_numbers.index(au) for au in common]],
        data.video,
        data.frame,
        data.subject,
        common,
        data.corpus,
        flipped=both[1][:, own] if flip else None,
    )


def _outputs(network: Network) -> int:
    return [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1].out_features


def _shown(source: Any, total: int, shown: bool) -> Iterator[Tensor]:
    from rich.console import Console
    from rich.progress import track

    yield from track(source, "predictions", total, console=Console(stderr=True), disable=not shown)
