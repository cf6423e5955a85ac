"""The paper's data sets by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.corpora.affwild2 import AffWild2
from train.data.corpora.bp4d import BP4D
from train.data.corpora.corpus import Corpus, DatasetError
from train.data.corpora.disfa import DISFA

CORPORA = ("bp4d", "disfa", "affwild2")


def open_corpus(name: str, root: str | os.PathLike[str], lists: str | os.PathLike[str] | None = None) -> Corpus:
    """The corpus `name` (bp4d, disfa, affwild2) at its root.

    Args:
        lists: folder of the fold lists, for bp4d and disfa; None: searched under the root; without
            lists the division by subjects that they stand for.

    Raises DatasetError where the root does not have the published layout: what was looked for, and where.
    """
    if name == "bp4d":
        return BP4D(root, lists)
    if name == "disfa":
        return DISFA(root, lists)
    if name == "affwild2":
        return AffWild2(root)
    raise DatasetError(f"expected a data set out of {', '.join(CORPORA)}, got {name!r}")


def training_labels(
    corpus: Corpus, fold: int | None = None, skip_missing: bool = False
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Labels (N, n) of the training part, NaN where missing, and the AUs that it labels at all; frames without any
    label are left out. Raises DatasetError as Corpus.select."""
    if corpus.folds and fold is None:
        raise DatasetError(f"{corpus.name}: expected a fold out of {list(corpus.folds)}, got none; give --fold")
    chosen = corpus.select("train", fold, skip_missing)
    table = np.concatenate([selection.video.labels[selection.chosen] for selection in chosen])
    known = ~np.isnan(table)
    columns = np.flatnonzero(known.any(0))
    numbers = tuple(corpus.au_numbers[k] for k in columns.tolist())
    return np.asarray(table[known.any(1)][:, columns], np.float32), numbers


def lists_of(lists: str | os.PathLike[str], name: str) -> Path | None:
    """Folder of the fold lists of the corpus `name`: the one of its name in `lists`, else `lists` itself, for those of
    all data sets in one folder; None, searched under the root, where `lists` is empty."""
    if not os.fspath(lists):
        return None
    own = Path(lists) / name
    return own if own.is_dir() else Path(lists)
