"""What a run of the paper is trained, validated and tested on: parts of the data sets, as its options say."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aunet_sdk.facs import AU_NUMBERS
from train.configs.options import PaperOptions
from train.data.check_synthetic import lacking
from train.data.corpora.corpus import EXAMPLES, Corpus, spans
from train.data.corpora.registry import CORPORA, lists_of, open_corpus
from train.data.mixture import mix
from train.data.sequences import DatasetInfo, load_split
from train.data.transforms.triplets import AUGMENTATIONS
from train.data.triplets import TripletSet
from train.engine.distributed import leads

LOG = logging.getLogger(__name__)
SYNTHETIC = "synthetic"


@dataclasses.dataclass(frozen=True)
class Parts:
    """The sets of a run, all with the AUs `train.au_numbers`."""

    train: TripletSet
    test: TripletSet
    """Of all of `test_on`."""
    validation: TripletSet | None
    """A part that belongs neither to training nor to the test; None: the data sets have none."""
    info: DatasetInfo | None
    """Of the synthetic set, whose crops are its own."""
    interval_s: float
    """T in seconds; where it is given in frames, at the median rate of the training part."""
    held_out: bool = False
    """Whether `test` and `validation` are people of the training part, held out; the test part was not opened then."""


def load_parts(options: PaperOptions, resolution: int) -> Parts:
    """Open the data sets in `options.data`: a folder bp4d, disfa, affwild2 each, `prepared` beside them (what
    `python -m train prepare --out` wrote), or the synthetic set. What a copy lacks is logged, as far as it shows
    without reading more than the run does; `python -m train check` reads everything.

    Raises:
        ValueError: a data set that is unknown, cannot be mixed, or is not there as it should be.
    """
    test_on = options.test_on or options.train_on
    for name in (*options.train_on, *test_on):
        if name not in (*CORPORA, SYNTHETIC):
            raise ValueError(f"train_on, test_on: expected some of {', '.join((*CORPORA, SYNTHETIC))}, got {name!r}")
    if SYNTHETIC in (*options.train_on, *test_on):
        if set((*options.train_on, *test_on)) != {SYNTHETIC}:
            raise ValueError("train_on, test_on: the synthetic set has crops of its own and stands alone")
        return _synthetic(options, resolution)
    opened = {
        name: open_corpus(name, Path(options.data) / name, lists_of(options.lists, name))
        for name in dict.fromkeys((*options.train_on, *test_on))
    }
    numbers = options.aus or _numbers([opened[name] for name in options.train_on], options)
    train = mix(
        [_capped(_part(opened[name], "train", options, resolution), options) for name in options.train_on], numbers
    )
    tests = (
        []
        if options.hold_out
        else [
            part
            for name in test_on
            for part in (
                [_part(opened[name], "test", options, resolution)]
                if name in options.train_on
                else _whole(opened[name], options, resolution)
            )
        ]
    )
    if leads():
        for corpus in opened.values():
            _tell(corpus)
    interval_s = _interval_s(options, opened, train)
    if options.hold_out:
        return _held_out(options, train, None, interval_s)
    if leads():
        _tell_parts({"training": [train], "test": tests})
    thinned = [evenly(part, options.test_frames) for part in tests]
    return Parts(evenly(labelled(train), options.samples), labelled(mix(thinned, numbers)), None, None, interval_s)


def _held_out(options: PaperOptions, train: TripletSet, info: DatasetInfo | None, interval_s: float) -> Parts:
    """Parts of a run that looks at people of the training part alone."""
    train = labelled(train)
    out = held_out(train, options.hold_out)
    rest, apart = train.subset(~out), train.subset(out)
    if leads():
        _tell_parts({"training": [rest], "held out": [apart]})
    return Parts(
        evenly(rest, options.samples),
        evenly(apart, options.test_frames),
        evenly(apart, options.eval_frames),
        info,
        interval_s,
        held_out=True,
    )


def held_out(part: TripletSet, share: float) -> NDArray[np.bool_]:
    """(N,) rows of about `share` of the subjects of each data set, at least one: evenly spaced in the order of their
    names, so that every run holds out the same people. ValueError where a data set has one subject alone."""
    chosen = np.zeros(len(part), bool)
    for name in dict.fromkeys(part.corpus.tolist()):
        own = part.corpus == name
        people = sorted(set(part.subject[own].tolist()))
        if len(people) < 2:
            raise ValueError(f"hold_out: expected two and more subjects of {name} in the training part, got {people}")
        count = min(max(1, round(share * len(people))), len(people) - 1)
        apart = [people[int((k + 0.5) * len(people) / count)] for k in range(count)]
        chosen |= own & np.isin(part.subject, apart)
    return chosen


def _synthetic(options: PaperOptions, resolution: int) -> Parts:
    names = ("train",) if options.hold_out else ("train", "val", "test")
    sets = {split: load_split(options.data, split) for split in names}
    if leads():
        for problem in lacking(sets["train"].info, [name for part in sets.values() for name in part.identity.tolist()]):
            LOG.warning("%s", problem)
    augment = AUGMENTATIONS[options.augmentation]
    parts = {split: TripletSet.from_sequences(part, resolution, augment) for split, part in sets.items()}
    if options.aus:
        parts = {split: mix([part], options.aus) for split, part in parts.items()}
    info = sets["train"].info
    if options.hold_out:
        return _held_out(options, parts["train"], info, info.interval_s)
    train, validation, test = (labelled(parts[split]) for split in ("train", "val", "test"))
    if leads():
        _tell_parts({"training": [train], "validation": [validation], "test": [test]})
    return Parts(
        evenly(train, options.samples),
        evenly(test, options.test_frames),
        evenly(validation, options.eval_frames),
        info,
        info.interval_s,
    )


def _tell(corpus: Corpus) -> None:
    """Log what a copy lacks, of what is known once its parts are open."""
    gaps = corpus.gaps[:EXAMPLES]
    if len(corpus.gaps) > EXAMPLES:
        gaps.append(f"{len(corpus.gaps) - EXAMPLES} more videos have frames without a picture")
    for text in (*corpus.lacking(), *(f"{corpus.name}: {text}" for text in (*gaps, *corpus.notes))):
        LOG.warning("%s", text)
    if corpus.unknown():
        LOG.info("%s: whether the copy is complete cannot be checked: %s", corpus.name, corpus.unknown())


def _tell_parts(parts: dict[str, list[TripletSet]]) -> None:
    """Log which frames and people a run looks at."""
    for use, sets in parts.items():
        for part in sets:
            for name in dict.fromkeys(part.corpus.tolist()):
                own = part.corpus == name
                people = sorted(set(part.subject[own].tolist()))
                LOG.info("%s: %s: %d frames, %d subjects: %s", use, name, own.sum(), len(people), spans(people))


def _numbers(corpora: list[Corpus], options: PaperOptions) -> tuple[int, ...]:
    """All AUs that the data sets label, as far as they count, out of the paper's 15."""
    counted = {au for one in corpora for au in set(one.au_numbers) & set(options.corpus_aus.get(one.name, AU_NUMBERS))}
    return tuple(number for number in AU_NUMBERS if number in counted)


def _counted(part: TripletSet, options: PaperOptions, corpus: Corpus) -> TripletSet:
    """The part with the labels that count (`corpus_aus`), and the samples that have one."""
    wanted = options.corpus_aus.get(corpus.name)
    if wanted is None:
        return part
    absent = sorted(set(wanted) - set(corpus.au_numbers))
    if absent:
        raise ValueError(f"corpus_aus: expected some of {corpus.au_numbers} for {corpus.name}, got {absent} beside")
    part.labels[:, ~np.isin(part.au_numbers, wanted)] = np.nan
    return labelled(part)


def _capped(part: TripletSet, options: PaperOptions) -> TripletSet:
    """The part with at most as many samples as its data set may have."""
    return evenly(labelled(part), options.corpus_frames.get(str(part.corpus[0]), 0))


def _part(corpus: Corpus, part: str, options: PaperOptions, resolution: int, fold: int | None = None) -> TripletSet:
    if corpus.folds and not (fold or options.fold):
        raise ValueError(f"fold: expected one of {list(corpus.folds)} for {corpus.name}, got none")
    found = TripletSet.from_corpus(
        corpus,
        Path(options.data) / "prepared",
        part,
        (fold or options.fold) if corpus.folds else None,
        resolution=resolution,
        interval_s=options.interval_s,
        interval_frames=options.interval_frames or None,
        skip_missing=options.skip_missing,
        augment=AUGMENTATIONS[options.augmentation],
        listed=options.neighbours == "list",
        store=options.store,
    )
    return _counted(found, options, corpus)


def _interval_s(options: PaperOptions, opened: dict[str, Corpus], part: TripletSet) -> float:
    if not options.interval_frames:
        return options.interval_s
    rates = [opened[c].video(v).fps for c, v in zip(part.corpus.tolist(), part.video.tolist(), strict=True)]
    return options.interval_frames / float(np.median(rates))


def _whole(corpus: Corpus, options: PaperOptions, resolution: int) -> list[TripletSet]:
    """A data set that was not trained on: the test parts of all its folds, or its official one."""
    return [_part(corpus, "test", options, resolution, fold) for fold in corpus.folds or (None,)]


def labelled(part: TripletSet) -> TripletSet:
    """The samples with at least one label."""
    known: NDArray[np.bool_] = np.asarray(~np.isnan(part.labels).all(1))
    return part if known.all() else part.subset(known)


def evenly(part: TripletSet, count: int) -> TripletSet:
    """About `count` samples, evenly spaced; 0: all."""
    if not count or count >= len(part):
        return part
    return part.subset(np.linspace(0, len(part) - 1, count).round().astype(np.int64))
