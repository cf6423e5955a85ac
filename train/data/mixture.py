"""Several sets as one, with the paper's 15 AUs; section V-E trains on BP4D, DISFA and AffWild2 together.

What a set does not label is NaN. `TripletSet.corpus` says which set a sample is from, and so which VAE it goes with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.facs import AU_NUMBERS
from train.data.corpora.corpus import Corpus, DatasetError
from train.data.frames import FrameTable
from train.data.transforms.triplets import TripletAugment
from train.data.triplets import TripletSet


def mix(sets: Sequence[TripletSet], au_numbers: Sequence[int] = AU_NUMBERS) -> TripletSet:
    """All samples of `sets`, one set after the other.

    Args:
        au_numbers: AUs of the labels; what a set does not label is NaN, and other AUs of a set are dropped.

    Raises DatasetError where there is no set, or the sides of their crops differ.
    """
    sides = {part.resolution for part in sets}
    if len(sides) != 1:
        raise DatasetError(f"mixture: expected one or more sets with one resolution, got {sorted(sides)}")
    starts = np.cumsum([0, *(len(part.table.points) for part in sets)])
    skipped: dict[str, int] = {}
    for part in sets:
        for reason, count in part.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    return TripletSet(
        _JoinedFrames([part.table for part in sets], starts),
        np.concatenate([part.rows + start for part, start in zip(sets, starts[:-1], strict=True)]),
        np.concatenate([spread(part.labels, part.au_numbers, au_numbers) for part in sets]),
        au_numbers,
        corpus=np.concatenate([part.corpus for part in sets]),
        video=np.concatenate([part.video for part in sets]),
        subject=np.concatenate([part.subject for part in sets]),
        frame=np.concatenate([part.frame for part in sets]),
        resolution=sides.pop(),
        augment=sets[0].augment,
        skipped=skipped,
    )


def mixture(
    corpora: Sequence[Corpus],
    prepared: str | os.PathLike[str],
    part: str,
    fold: int = 1,
    *,
    resolution: int = 256,
    augment: TripletAugment | None = None,
    interval_frames: Mapping[str, int] | None = None,
) -> TripletSet:
    """One part of the paper's mixture: the fold of those corpora that have folds, the official set of the others.

    Args:
        interval_frames: T in frames, by corpus; the others have 0.4 s.

    Raises DatasetError as TripletSet.from_corpus.
    """
    sets = [
        TripletSet.from_corpus(
            corpus,
            prepared,
            part,
            fold if corpus.folds else None,
            resolution=resolution,
            augment=augment,
            interval_frames=(interval_frames or {}).get(corpus.name),
        )
        for corpus in corpora
    ]
    return mix(sets)


def spread(labels: NDArray[np.float32], own: Sequence[int], wanted: Sequence[int]) -> NDArray[np.float32]:
    """Labels (N, n) of the AUs `own` as (N, m) of the AUs `wanted`, NaN where `own` has none."""
    out = np.full((len(labels), len(wanted)), np.nan, np.float32)
    for column, au in enumerate(wanted):
        if au in own:
            out[:, column] = labels[:, list(own).index(au)]
    return out


class _JoinedFrames:
    """Rows of several tables, one after the other."""

    def __init__(self, tables: Sequence[FrameTable], starts: NDArray[np.int64]) -> None:
        self._tables, self._starts = list(tables), starts
        self.points = np.concatenate([table.points for table in tables])

    def read(self, row: int) -> NDArray[np.uint8]:
        table, own = self._find(row)
        return table.read(own)

    def matrix(self, row: int, resolution: int) -> NDArray[np.float64]:
        table, own = self._find(row)
        return table.matrix(own, resolution)

    def _find(self, row: int) -> tuple[FrameTable, int]:
        k = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._tables[k], row - int(self._starts[k])
