"""What a synthetic set has, lacks, and what is wrong with it: the check of the licensed data sets for this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.corpora.corpus import Findings, named
from train.data.sequences import SPLITS, DatasetError, DatasetInfo, read_shard

NAME = "synthetic"


def check_synthetic(
    root: str | os.PathLike[str], decode: bool = False, progress: Callable[[str], None] | None = None
) -> Findings:
    """Read dataset.json and every shard; what is wrong in a shard is not raised but reported.

    Args:
        decode: look at the pictures, too: a sequence without any content is a problem.
        progress: called with the name of each shard before it is read.

    Raises:
        FileNotFoundError: no dataset.json.
        DatasetError: it lacks a field, or a field is not what it should be.
    """
    info = DatasetInfo.read(Path(root))
    problems: list[str] = []
    identities: list[str] = []
    frames = 0
    on, known = np.zeros(len(info.au_numbers), int), np.zeros(len(info.au_numbers), int)
    shards = sorted(path for path in (info.path / "shards").glob("*.npz") if ".partial" not in path.name)
    if not shards:
        problems.append(f"{NAME}: expected shards/*.npz in {root}, found none; the set is not made yet")
    for shard in shards:
        if progress is not None:
            progress(shard.name)
        try:
            arrays = read_shard(shard, info)
        except DatasetError as error:
            problems.append(str(error))
            continue
        labels = arrays["labels"].reshape(-1, len(info.au_numbers))
        identities += arrays["identity"].tolist()
        frames += len(labels)
        on += (labels == 1).sum(0)
        known += (~np.isnan(labels)).sum(0)
        problems += [f"{NAME}: {shard}: {what}" for what in _wrong(arrays, decode)]
    problems += lacking(info, identities)
    rates = {au: (int(a), int(b)) for au, a, b in zip(info.au_numbers, on, known, strict=True)}
    unlabelled = [f"AU{au}" for au, (_, count) in rates.items() if not count]
    notes = [f"never labelled: {named(unlabelled)}"] if unlabelled and identities else []
    subjects = tuple(sorted(set(identities)))
    counts = ", ".join(f"{split} {len(set(info.splits[split]) & set(subjects))}" for split in SPLITS)
    notes.append(f"identities of the splits: {counts}")
    return Findings(NAME, Path(root), len(identities), frames, subjects, rates, tuple(notes), tuple(problems))


def lacking(info: DatasetInfo, identities: Iterable[str]) -> list[str]:
    """What dataset.json names and the sequences of `identities` do not have, and the other way round, in words."""
    found = set(identities)
    problems = []
    for split in SPLITS:
        absent = [name for name in info.splits[split] if name not in found]
        if absent:
            problems.append(
                f"{NAME}: {len(absent)} of {len(info.splits[split])} identities of {split} have no sequence: "
                f"{named(absent)}"
            )
    stray = sorted(found - {name for split in SPLITS for name in info.splits[split]})
    if stray:
        problems.append(f"{NAME}: {len(stray)} identities are in no split, nobody reads them: {named(stray)}")
    return problems


def _wrong(arrays: dict[str, NDArray[np.generic]], decode: bool) -> list[str]:
    """What is wrong with the values of a shard."""
    labels, intensity = (np.asarray(arrays[name], np.float32) for name in ("labels", "intensity"))
    checks = {
        "labels other than 0, 1 and NaN": ~(np.isnan(labels) | (labels == 0) | (labels == 1)),
        "intensities outside [0, 1]": (intensity < 0) | (intensity > 1),
    }
    if decode:
        flat = [np.ptp(pictures) == 0 for pictures in np.asarray(arrays["images"])]
        checks["pictures of one colour"] = np.array(flat, bool)
    return [f"{int(bad.sum())} {what}" for what, bad in checks.items() if bad.any()]
