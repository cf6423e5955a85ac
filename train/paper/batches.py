"""The batches of a run of the paper: which rows of the training part a step takes, and how they are augmented.

Every draw is a function of (seed, epoch, sample), so that a batch does not depend on who makes it.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.configs.options import PaperOptions
from train.data.transforms.device import pack
from train.data.triplets import TripletSet
from train.engine.distributed import rows_of
from train.engine.features_cache import FeatureCache
from train.evaluation.inference import stacked_crops


class TripletBatches:
    """Batches of a training part.

    Args:
        data: the training part.
        neighbours: whether the network looks at the former and the later frame.

    Attributes:
        cache: kept features, which are read in place of crops; None: there are none.
    """

    def __init__(self, options: PaperOptions, data: TripletSet, neighbours: bool) -> None:
        self.options, self.data, self.neighbours = options, data, neighbours
        self.epoch_size = len(data)
        self.batch = min(options.batch, self.epoch_size)
        self.steps_per_epoch = self.epoch_size // self.batch
        self.cache: FeatureCache | None = None
        self._permutation = functools.lru_cache(4)(self._permute)

    def part(self, step: int, part: int, parts: int) -> dict[str, Tensor]:
        """Part `part` of `parts` of the batch of a step.

        Returns:
            "labels" (b, n) float32; "rows/NAME" (k,), the rows of each data set that is in it; "known_share" and
            "row_share", the shares of the batch's means that this part has; and "crops" (b, F, R, R, 3) uint8, or what
            train.data.transforms.device packs, or "due" and "near" of the cache.
        """
        data = self.data
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = self._permutation(epoch)[place * self.batch : (place + 1) * self.batch]
        own = rows[rows_of(len(rows), part, parts)]
        labels, known = data.labels[own], ~np.isnan(data.labels[rows])
        mine = ~np.isnan(labels)
        batch = {
            "labels": torch.from_numpy(labels),
            "known_share": torch.tensor(float(mine.sum() / max(known.sum(), 1))),
            "row_share": torch.tensor(float(mine.any(1).sum() / max(known.any(1).sum(), 1))),
        }
        names = data.corpus[own]
        batch |= {
            f"rows/{name}": torch.from_numpy(np.flatnonzero(names == name)) for name in dict.fromkeys(names.tolist())
        }
        if self.cache is not None:
            return {**batch, **self.cache.read(self.draw(epoch) * self.epoch_size + own)}
        draws = self._generators(own, epoch) if self.options.augment else None
        if self.options.augment_on == "device":
            return {**batch, **pack(data, own.tolist(), self.neighbours, draws)}
        return {**batch, "crops": torch.from_numpy(stacked_crops(data, own.tolist(), self.neighbours, draws))}

    def draw(self, epoch: int) -> int:
        """Which augmentation of a sample an epoch sees."""
        return 0 if not self.options.augment else epoch % self.options.draws if self.options.draws else epoch

    def crops(self, row: int, draw: int | None) -> NDArray[np.uint8]:
        """(1, 3 or 1, R, R, 3) uint8 of one row, for features that are kept; `draw` None: not augmented."""
        draws = None if draw is None else self._generators(np.array([row]), draw)
        return stacked_crops(self.data, [row], self.neighbours, draws)

    def _generators(self, rows: NDArray[np.int64], epoch: int) -> list[np.random.Generator]:
        return [np.random.default_rng([self.options.seed, 11, self.draw(epoch), i]) for i in rows.tolist()]

    def _permute(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.options.seed, 7, epoch]).permutation(self.epoch_size)
