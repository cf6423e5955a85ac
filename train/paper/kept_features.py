"""Features of the training part that are computed once: a frozen FAN over every row and draw of augmentation."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import PaperOptions
from train.data.row_keys import faces_key
from train.data.triplets import TripletSet
from train.engine.distributed import Group, rows_of
from train.engine.features_cache import FeatureCache, Layout, amount, key_of, model_key
from train.engine.loader import batches
from train.engine.run_folder import Stopped
from train.evaluation.inference import ROWS_AT_ONCE, features_of
from train.models.config import ModelConfig
from train.models.variants import FanNetwork

LOG = logging.getLogger("train")


@torch.inference_mode()
def keep_features(
    network: FanNetwork,
    data: TripletSet,
    options: PaperOptions,
    place: Path,
    config: ModelConfig,
    *,
    set_digest: str | None,
    crops: Callable[[int, int | None], NDArray[np.uint8]],
    device: torch.device,
    group: Group,
    stop: threading.Event,
) -> FeatureCache:
    """The features of `data` in the folder `place`, with what is missing of them computed; every process its share.

    Args:
        network: its FAN is frozen; put into evaluation mode.
        config: width and resolution of the network.
        set_digest: of the synthetic set that the rows are from (train.data.sequences.set_key), or None.
        crops: (row, draw of augmentation or None) -> (1, 3 or 1, R, R, 3) uint8.

    Raises:
        Stopped: `stop` was set; what was computed is kept.
    """
    from rich.console import Console
    from rich.progress import track

    size = len(data)
    draws = options.draws if options.augment else 1
    layout = Layout(draws * size, 3 * config.width, config.resolution // 4, network.contexts)
    digest = key_of(
        network=model_key(network.fan),
        rows=[data.corpus.tolist(), data.video.tolist(), data.frame.tolist()],
        faces=faces_key(data),
        data=str(Path(options.data).resolve()),
        set=set_digest,
        resolution=config.resolution,
        interval=options.interval_s,
        augment=[options.seed, dataclasses.asdict(data.augment)] if options.augment else None,
        layout=dataclasses.asdict(layout),
    )
    if group.leads:
        FeatureCache(place, digest, layout).flush()
    group.barrier()
    cache = FeatureCache(place, digest, layout)
    missing = cache.missing()
    group.barrier()  # before anyone writes
    own = missing[rows_of(len(missing), group.rank, group.size)]
    LOG.info("features: %d of %d rows to compute, %s in %s", len(missing), layout.rows, amount(layout.size), place)
    network.eval()
    chunks = [own[k : k + ROWS_AT_ONCE] for k in range(0, len(own), ROWS_AT_ONCE)]

    def load(k: int) -> list[Tensor]:
        rows = chunks[k].tolist()
        return [torch.from_numpy(crops(row % size, row // size if options.augment else None)) for row in rows]

    source = batches(load, 0, len(chunks), workers=options.workers)
    shown = track(source, "features", len(chunks), console=Console(stderr=True), disable=not group.leads)
    for chunk, found in zip(chunks, shown, strict=True):
        features = features_of(network, torch.cat(found).to(device))
        if layout.near:
            cache.write(chunk.tolist(), features[:, 1], features[:, ::2])
        else:
            cache.write(chunk.tolist(), features[:, 0], None)
        if stop.is_set():
            cache.flush()
            raise Stopped("stopped while computing features, which are kept; continue with --resume")
    cache.flush()
    group.barrier()
    return cache
