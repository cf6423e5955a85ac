"""Figures 6, 8, 9 and 10 of given models on given data: chooses the faces, runs the networks, writes the files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.clip import clip_triplets
from train.data.triplets import TripletSet
from train.evaluation.predictions import FILE, Predictions
from train.paper import figures
from train.paper.activations import Interval, Subject, block_maps, crops_of, motion_maps, open_subject, probabilities

LOG = logging.getLogger("train")
FIGURES = (6, 8, 9, 10)
CANDIDATES = 60
"""Onsets of an AU that figure 9 chooses from."""
UPPER = (1, 2, 4, 6, 7)
"""AUs of brows and lids."""


@dataclasses.dataclass(frozen=True)
class FigureOptions:
    """Which figures to draw, from which models and which data."""

    models: tuple[str, ...]
    """Model files or run folders; 'NAME=PATH' gives one a name."""
    data: str
    """Folder of the synthetic set, or of prepared data sets (then `corpus` says which); empty: the clip is the data."""
    out: Path
    numbers: tuple[int, ...] = FIGURES
    split: str = "test"
    """Of the synthetic set."""
    corpus: str = ""
    """bp4d, disfa or affwild2; empty: the synthetic set."""
    lists: str = ""
    """Folder of the corpus's fold lists, as train.configs.options.PaperOptions has it; empty: searched beside the
    data."""
    fold: int = 0
    faces: int = 4
    """In figure 6."""
    aus: tuple[int, ...] = (1, 2, 4, 9, 12, 15, 25, 26)
    """In figure 9."""
    frames: int = 1500
    """For figure 8, evenly spaced, where the run has no predictions; 0: all."""
    video: str = ""
    """For figure 10: a video, or a subject of the synthetic set; empty: the one with the most changes."""
    clip: str = ""
    """A video file with a known `track`: for figure 10, and for all where there is no `data`."""
    track: str = ""
    """CSV of the clip's AUs: `timestamp_s` and `AU..`, intensity 0 to 1."""
    format: str = "png"
    seed: int = 0


def draw(options: FigureOptions) -> list[Path]:
    """Draw the figures; returns the files.

    Raises:
        ValueError, OSError: options, models or data that do not fit; the message says which.
    """
    unknown = set(options.numbers) - set(FIGURES)
    if unknown:
        raise ValueError(f"figure: expected some of {FIGURES}, got {sorted(unknown)}")
    if not options.models:
        raise ValueError("model: expected at least one model file or run folder, got none")
    if bool(options.clip) != bool(options.track):
        raise ValueError("clip, track: expected both or none")
    subjects = [_named(text) for text in options.models]
    if len({subject.resolution for subject in subjects}) > 1:
        raise ValueError(f"model: expected one resolution, got {[subject.resolution for subject in subjects]}")
    if not options.data and not options.clip:
        raise ValueError("data: expected a folder of data, or a clip with its track, got neither")
    resolution = subjects[0].resolution
    if options.clip and len({subject.template for subject in subjects}) > 1:
        raise ValueError(
            f"model: expected one canonical crop for the clip, got {[subject.template[0] for subject in subjects]} as "
            "the place of the first eye; draw the models one by one"
        )
    interval = _interval(subjects) if options.clip or options.corpus else subjects[0].interval
    clip = (
        clip_triplets(options.clip, options.track, resolution, interval.seconds, subjects[0].template)
        if options.clip
        else None
    )
    if clip is None or options.data:
        data = open_data(options.data, resolution, options.corpus, options.fold, options.split, interval, options.lists)
    else:
        data = clip
    rng = np.random.default_rng(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    written = []

    def keep(figure: figures.Figure, name: str) -> None:
        written.append(figures.save(figure, options.out / f"{name}.{options.format}"))
        LOG.info("%s", written[-1])

    if 6 in options.numbers:
        keep(_figure_6(subjects, data, options.faces, rng), "figure_6")
    for subject, text in zip(subjects, options.models, strict=True):
        end = "" if len(subjects) == 1 else f"_{_slug(subject.name)}"
        if 8 in options.numbers:
            keep(figures.dependencies(_predicted(subject, _path(text), data, options)), f"figure_8{end}")
        if 9 in options.numbers and not subject.network.contexts:
            LOG.info("figure 9: %s looks at one frame and has no dynamic branch; left out", subject.name)
        elif 9 in options.numbers:
            keep(_figure_9(subject, data, options.aus, rng), f"figure_9{end}")
    if 10 in options.numbers:
        keep(_figure_10(subjects, data if clip is None else clip, options.video), "figure_10")
    return written


def _interval(subjects: Sequence[Subject]) -> Interval:
    """The one T of the networks that look at neighbours; ValueError where they have several."""
    found = list(dict.fromkeys(subject.interval for subject in subjects if subject.network.contexts))
    if len(found) > 1:
        raise ValueError(f"model: expected one interval between frames, got {found}; draw the models one by one")
    return found[0] if found else Interval()


def _path(text: str) -> Path:
    _, mark, path = text.partition("=")
    return Path(path if mark and not Path(text).exists() else text)


def _named(text: str) -> Subject:
    path = _path(text)
    return open_subject(path, None if str(path) == text else text.partition("=")[0])


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def open_data(
    data: str,
    resolution: int,
    corpus: str = "",
    fold: int = 0,
    split: str = "test",
    interval: Interval | None = None,
    lists: str = "",
    listed: bool = False,
) -> TripletSet:
    """The labelled samples of a split of the synthetic set in `data`, or of the test part of the `corpus` under it.

    Args:
        interval: T of the corpus's triplets, the model's own (None: 0.4 s); the synthetic set has its own.
        lists: the corpus's fold lists, as train.configs.options.PaperOptions has them.
        listed: neighbours out of the part's own frames alone, as TripletSet.from_corpus has it.

    Raises:
        ValueError, OSError: data that are not there as they should be.
    """
    from train.data.sequences import load_split
    from train.paper.parts import labelled

    if not corpus:
        return labelled(TripletSet.from_sequences(load_split(data, split), resolution))
    from train.data.corpora.registry import lists_of, open_corpus

    root, interval = Path(data), interval or Interval()
    return labelled(
        TripletSet.from_corpus(
            open_corpus(corpus, root / corpus, lists_of(lists, corpus)),
            root / "prepared",
            "test",
            fold or None,
            resolution=resolution,
            interval_s=interval.seconds,
            interval_frames=interval.frames or None,
            listed=listed,
        )
    )


def _figure_6(subjects: Sequence[Subject], data: TripletSet, count: int, rng: np.random.Generator) -> figures.Figure:
    rows = _faces(data, count, rng)
    crops = crops_of(data, rows)
    maps = [figures.FaceMaps(one.name, crops[:, 1], block_maps(one, crops)) for one in subjects]
    return figures.feature_maps(maps)


def _faces(data: TripletSet, count: int, rng: np.random.Generator) -> list[int]:
    """Rows of different people, of each the busier half of the frames. Where there are fewer people than `count`, more
    frames of each, with other AUs."""
    people = rng.permutation(np.unique(data.subject)).tolist()
    most = np.nansum(data.labels, 1)
    rows: list[int] = []
    seen: set[tuple[str, bytes]] = set()
    waiting = {}
    for person in people:
        own = np.flatnonzero(data.subject == person)
        waiting[person] = rng.permutation(own[np.argsort(most[own], kind="stable")][len(own) // 2 :]).tolist()
    while len(rows) < count and any(waiting.values()):
        for person in people:
            while waiting[person] and len(rows) < count:
                row = waiting[person].pop()
                pattern = (person, (np.nan_to_num(data.labels[row]) > 0.5).tobytes())
                if pattern not in seen:
                    seen.add(pattern)
                    rows.append(row)
                    break
    return rows


def _figure_9(subject: Subject, data: TripletSet, aus: Sequence[int], rng: np.random.Generator) -> figures.Figure:
    rows: list[figures.MotionRow] = []
    for au in aus:
        if au not in data.au_numbers:
            continue
        chosen = _onset(data, data.au_numbers.index(au), rng)
        if chosen is None:
            LOG.info("figure 9: no onset of AU%d in the data; left out", au)
            continue
        crops = crops_of(data, [chosen])
        static, dynamic = motion_maps(subject, crops)
        rows.append(figures.MotionRow(au, crops[0, 0], crops[0, 1], static[0], dynamic[0]))
    return figures.motion(rows)


def _onset(data: TripletSet, column: int, rng: np.random.Generator) -> int | None:
    """A sample where the AU is on and was off in the former frame, few other AUs changed, and the AU's half of the face
    changed more than the rest. The choice looks at labels and pixels, never at what a network makes of them."""
    place = {(v, f): i for i, (v, f) in enumerate(zip(data.video.tolist(), data.rows[:, 1].tolist(), strict=True))}
    on = np.flatnonzero(data.labels[:, column] == 1)
    found = []
    for i in rng.permutation(on).tolist():
        former = place.get((str(data.video[i]), int(data.rows[i, 0])))
        if former is None or former == i or data.labels[former, column] != 0:
            continue
        others = int((np.abs(data.labels[i] - data.labels[former]) > 0.5).sum()) - 1
        crops = data.crops(i, None).astype(np.float32)
        found.append((others - _movement(crops, data.au_numbers[column] in UPPER) / 4, i))
        if len(found) == CANDIDATES:
            break
    return min(found)[1] if found else None


def _movement(crops: NDArray[np.float32], upper: bool) -> float:
    """How much more the upper (eyes, brows) or lower (mouth, chin) part of crops (3, R, R, 3) changes from former to
    due than the rest, 0-255."""
    side = crops.shape[1]
    change = np.abs(crops[1] - crops[0]).mean(2)
    top, bottom = (0.18, 0.52) if upper else (0.56, 0.95)
    band = change[int(top * side) : int(bottom * side), int(0.2 * side) : int(0.8 * side)]
    rest = (change.sum() - band.sum()) / (change.size - band.size)
    return float(band.mean() - rest)


def _predicted(subject: Subject, place: Path, data: TripletSet, options: FigureOptions) -> Predictions:
    """The run's own predictions, of the corpus that is asked for, where it has them, else those of the model on the
    data. ValueError where the run's are of several corpora and none is asked for."""
    own = Predictions.load(place) if (place / FILE).is_file() else None
    if own is not None and options.corpus:
        own = own.select(own.corpus == options.corpus)
    if own is not None and len(own):
        names = sorted(set(own.corpus.tolist()))
        if len(names) > 1:
            raise ValueError(
                f"corpus: expected one data set for figure 8, got the predictions of {', '.join(names)} in {place}; "
                f"give --corpus {names[0]}, for one"
            )
        known = ~np.isnan(own.labels).all(0)
        return own.only(tuple(np.array(own.au_numbers)[known].tolist()))
    count = min(len(data), options.frames or len(data))
    return predictions_of(subject, data.subset(np.linspace(0, len(data) - 1, count).round().astype(np.int64)))


def predictions_of(subject: Subject, data: TripletSet, alone: bool = False, flip: bool = False) -> Predictions:
    """What a network says about a set, on the AUs that both have.

    Args:
        alone: without the former and the later frame.
        flip: about the mirrored crops, too.
    """
    rows = range(len(data))
    common = tuple(au for au in subject.au_numbers if au in data.au_numbers)
    own = [subject.au_numbers.index(au) for au in common]
    wanted = [data.au_numbers.index(au) for au in common]
    return Predictions(
        probabilities(subject, data, rows, alone=alone)[:, own],
        data.labels[:, wanted],
        data.video,
        data.frame,
        data.subject,
        common,
        data.corpus,
        flipped=probabilities(subject, data, rows, mirrored=True, alone=alone)[:, own] if flip else None,
    )


def _figure_10(subjects: Sequence[Subject], data: TripletSet, video: str) -> figures.Figure:
    keys = data.subject if (data.corpus == "synthetic").all() else data.video
    chosen = video or _busiest(data, keys)
    rows = np.flatnonzero(keys == chosen)
    if not len(rows):
        raise ValueError(f"video: expected one of {', '.join(sorted(set(keys.tolist()))[:5])} ..., got {chosen!r}")
    rows = rows[np.lexsort((data.frame[rows], np.array([_order(name) for name in data.video[rows].tolist()])))]
    times, unit = _axis(data.video[rows], data.frame[rows])
    return _timelines(subjects, data.subset(rows), times, unit, chosen)


def _order(video: str) -> int:
    """Place of a synthetic sequence in its set; other videos stand alone."""
    last = video.rpartition("-")[2]
    return int(last) if last.isdigit() else 0


def _busiest(data: TripletSet, keys: NDArray[np.str_]) -> str:
    """The key with the most positive labels per frame that vary."""

    def change(name: str) -> float:
        return float(np.nanmean(np.nanstd(np.nan_to_num(data.labels[keys == name]), 0)))

    return max(sorted(set(keys.tolist())), key=change)


def _axis(video: NDArray[np.str_], frame: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
    """Places on the time axis of rows that are sorted by video and frame; a gap of two between videos."""
    if len(np.unique(video)) == 1:
        return frame.astype(np.float64), "frame"
    new = np.r_[False, video[1:] != video[:-1]]
    step = np.where(new, 3, np.r_[0, np.diff(frame)])
    return np.cumsum(step).astype(np.float64), "frames of sequences, 0.4 s apart; a gap between sequences"


def _timelines(
    subjects: Sequence[Subject],
    data: TripletSet,
    times: NDArray[np.float64],
    unit: str,
    title: str,
) -> figures.Figure:
    said: list[tuple[str, Predictions]] = []
    if len(subjects) == 1 and subjects[0].network.contexts:
        said.append((f"{subjects[0].name}, the frame alone", predictions_of(subjects[0], data, alone=True)))
    said += [(subject.name, predictions_of(subject, data)) for subject in subjects]
    common = tuple(sorted(set.intersection(*(set(one.au_numbers) for _, one in said))))
    lanes = [figures.lane_of(one.only(common), name) for name, one in said]
    truth = figures.Lane("ground truth", said[0][1].only(common).labels)
    return figures.timelines(times, common, truth, lanes, unit, title)
