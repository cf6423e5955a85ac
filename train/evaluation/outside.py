"""Predictions that another method published, as `predictions.npz`: JÄANet's, for Tables III to V, XIII and XIV.

    frames.txt          F001/T1/2440.jpg              a frame a line, as its list has them
    probabilities.txt   0.913 0.024 0.502 ...         as many lines; one number per AU, in [0, 1]

Labels and subjects come from the data set, so that the figures are ours and not the method's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.corpora.corpus import Corpus, DatasetError
from train.data.faces.prepare import text_lines
from train.evaluation.predictions import Predictions


def outside_predictions(
    corpus: Corpus,
    frames: Path,
    probabilities: Path,
    au_numbers: Sequence[int],
    variant: str,
    fold: int = 0,
    train_set: str = "",
) -> Predictions:
    """What another method says about frames of a corpus; frames without any label there are left out.

    Args:
        au_numbers: FACS numbers of the columns, in their order; those that the corpus does not label are dropped.
        variant: name of the method in the tables: 'jaanet'.
        fold: whose test part it is; 0: none.
        train_set: data set that it was trained on; empty: the corpus.

    Raises:
        DatasetError: files of different lengths, a line that is no frame of the corpus or not as many numbers in [0, 1]
            as AUs (file and line are named), a frame twice, no frame with a label.
    """
    numbers = tuple(au_numbers)
    names, rows = text_lines(frames), text_lines(probabilities)
    if len(names) != len(rows):
        raise DatasetError(
            f"{probabilities}: expected a line for each of the {len(names)} of {frames}, got {len(rows)}"
        )
    if len(set(numbers)) != len(numbers) or not set(numbers) & set(corpus.au_numbers):
        raise DatasetError(f"aus: expected different AUs, some of them out of {corpus.au_numbers}, got {numbers}")
    columns = [
        (au, numbers.index(au), corpus.au_numbers.index(au)) for au in sorted(set(numbers) & set(corpus.au_numbers))
    ]
    known = set(corpus.names())
    found: list[tuple[str, int, NDArray[np.float32], NDArray[np.float32]]] = []
    for line, (name, text) in enumerate(zip(names, rows, strict=True), 1):
        key = corpus.frame_of(name)
        if key is None or key[0] not in known:
            raise DatasetError(f"{frames}:{line}: expected a frame of {corpus.name}, got {name[:60]!r}")
        video = corpus.video(key[0])
        at = int(np.searchsorted(video.frames, key[1]))
        if at == video.n_frames or video.frames[at] != key[1]:
            raise DatasetError(f"{frames}:{line}: {key[0]} has no annotated picture {key[1]} in {corpus.root}")
        labels = video.labels[at, [own for _, _, own in columns]]
        values = _numbers(text, len(numbers), probabilities, line)[[column for _, column, _ in columns]]
        if not np.isnan(labels).all():
            found.append((*key, values, labels))
    if not found:
        raise DatasetError(f"{frames}: expected frames with a label in {corpus.root}, got none among {len(names)}")
    try:
        return Predictions(
            np.stack([values for _, _, values, _ in found]),
            np.stack([labels for _, _, _, labels in found]),
            video=np.array([video for video, _, _, _ in found]),
            frame=np.array([number for _, number, _, _ in found]),
            subject=np.array([corpus.subject_of(video) for video, _, _, _ in found]),
            au_numbers=tuple(au for au, _, _ in columns),
            corpus=np.array(corpus.name),
            variant=variant,
            fold=fold,
            extra={"train_corpus": train_set or corpus.name},
        )
    except ValueError as error:  # a frame twice
        raise DatasetError(f"{frames}: {error}") from error


def _numbers(text: str, count: int, path: Path, line: int) -> NDArray[np.float32]:
    try:
        values = np.array([float(cell) for cell in text.replace(",", " ").split()], np.float32)
    except ValueError:
        values = np.empty(0, np.float32)
    if len(values) != count or not ((values >= 0) & (values <= 1)).all():
        raise DatasetError(f"{path}:{line}: expected {count} probabilities in [0, 1], got {text[:60]!r}")
    return values
