"""What every data set of the paper is to the training: videos with frames, labels and subjects, checked before use.

A corpus is opened at a root that the user gives, in the layout its owners publish (docs/data.md). Opening looks at the
folders and raises DatasetError where nothing can be done; `check` reads everything and reports what it found.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.data.reading import FrameReader
from train.data.sequences import DatasetError

PARTS = ("train", "test")
EXAMPLES = 3
"""this many of a kind are named in a problem; the rest is counted"""
SPANS = 12
"""this many subjects, or runs of subjects, are named; the rest is counted"""
_COUNTED = re.compile(r"(.*?)(\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """One annotated video; its frames are those that have a row in the annotation and a picture."""

    corpus: str
    video: str
    """name, unique in the corpus, good as a file's name: F001_T1, SN002, video59_left"""
    subject: str
    fps: float
    frames: NDArray[np.int64]
    """(n_frames,) the data set's own frame numbers, ascending; they may have gaps"""
    labels: NDArray[np.float32]
    """(n_frames, n): 0 or 1, NaN: not labelled"""
    au_numbers: tuple[int, ...]
    reader: FrameReader
    side: str | None = None
    """left or right: the annotated person where two are in the picture"""

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def read(self, index: int) -> NDArray[np.uint8]:
        """The frame at a position (not its number), uint8 (H, W, 3) BGR; DatasetError where it cannot be decoded."""
        return self.reader.read(index)


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The frames of one video that belong to a part of a fold."""

    video: Video
    chosen: NDArray[np.bool_]
    """(n_frames,)"""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a check found."""

    corpus: str
    root: Path
    videos: int
    """of the synthetic set: sequences"""
    frames: int
    """annotated frames with a picture"""
    subjects: tuple[str, ...]
    positives: Mapping[int, tuple[int, int]]
    """per AU: frames where it is on, frames where it is labelled"""
    notes: tuple[str, ...]
    """what is as it may be, and worth knowing"""
    problems: tuple[str, ...]
    """what is missing or wrong, in words, with the file's name"""
    unknown: str = ""
    """why nobody can say whether the copy is complete; empty: it can be said"""

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or wrong, as far as it can be seen."""
        return not self.problems

    def text(self) -> str:
        """Several lines for a terminal."""
        end = (
            f"nothing wrong found; whether it is complete cannot be checked: {self.unknown}"
            if self.unknown
            else "complete"
        )
        videos = "sequences" if self.corpus == "synthetic" else "videos"
        lines = [
            f"{self.corpus} in {self.root}",
            f"  {self.videos} {videos}, {self.frames:,} frames, {len(self.subjects)} subjects",
            f"  subjects: {spans(self.subjects)}",
            "  on: " + ", ".join(
                f"AU{au} {on / known:.1%}" if known else f"AU{au} -" for au, (on, known) in self.positives.items()
            ),
            *(f"  note: {note}" for note in self.notes),
            *(f"  problem: {problem}" for problem in self.problems),
            f"  {end}" if self.ok else f"  {len(self.problems)} problems",
        ]  # fmt: skip
        return "\n".join(lines)


class Corpus:
    """Base of the loaders. A subclass lists its videos, loads one, and says which frames a part of a fold has."""

    name: str = ""
    au_numbers: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()
    """numbers of the folds; empty: one official division"""
    published: Mapping[str, int] = {}
    """videos and subjects of the complete data set; `frames`: fewer coded frames are too few"""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"{self.name}: expected the data set's folder, {self.root} is no folder; give its root")
        self._videos: dict[str, Video] = {}
        self.notes: list[str] = []
        self.gaps: list[str] = []
        """annotated frames that lack a picture where the data set has one for each, video by video"""

    def names(self) -> tuple[str, ...]:
        """Names of all annotated videos, sorted."""
        raise NotImplementedError

    def subject_of(self, name: str) -> str:
        """The person in a video."""
        raise NotImplementedError

    def load(self, name: str) -> Video:
        """Read one video's annotation and list its frames; DatasetError naming file and line."""
        raise NotImplementedError

    def select(self, part: str, fold: int | None = None, skip_missing: bool = False) -> list[Selection]:
        """The frames of `part` ("train" or "test") of a fold, video by video.

        Args:
            skip_missing: frames that a fold list names and the data set lacks are left out and counted in `notes`,
                instead of raising.

        Raises:
            DatasetError: no such part or fold; an annotation that cannot be read; a fold list that names a missing
                frame (file and line are named); a subject in both parts.
        """
        raise NotImplementedError

    def frame_of(self, text: str) -> tuple[str, int] | None:
        """Video and frame number that a path in a list of frames means; None where it does not look like one."""
        raise NotImplementedError

    def annotations(self) -> list[Path]:
        """Files of labels and fold lists, in a fixed order."""
        raise NotImplementedError

    def further_problems(self) -> list[str]:
        """What a subclass checks beside videos and subjects."""
        return []

    def video(self, name: str) -> Video:
        """A video by its name, read once."""
        if name not in self._videos:
            self._videos[name] = self.load(name)
        return self._videos[name]

    def videos(self) -> list[Video]:
        """All videos, in the order of their names."""
        return [self.video(name) for name in self.names()]

    def check(self, decode: bool = False, progress: Callable[[str], None] | None = None) -> Findings:
        """Read all annotations, and with `decode` all pictures; what is wrong is not raised but reported.

        Args:
            progress: called with the name of each video before it is read.
        """
        problems: list[str] = []
        subjects, frames, count = set(), 0, 0
        on, known = np.zeros(len(self.au_numbers), int), np.zeros(len(self.au_numbers), int)
        names = self.names()
        for name in names:
            if progress is not None:
                progress(name)
            try:
                video = self.video(name)
            except DatasetError as error:
                problems.append(str(error))
                continue
            count, frames = count + 1, frames + video.n_frames
            subjects.add(video.subject)
            on += np.nansum(video.labels, 0, dtype=int) if video.n_frames else 0
            known += (~np.isnan(video.labels)).sum(0)
            if not video.n_frames:
                problems.append(f"{self.name}: {name} is annotated, and has no picture")
            elif decode:
                problems += _undecodable(video)
        problems += self._lacking({"videos": count, "subjects": len(subjects)})
        least = self.published.get("frames", 0)
        if frames < least:
            problems.append(f"{self.name}: expected at least {least:,} coded frames with a picture, found {frames:,}")
        problems += self.further_problems() + [f"{self.name}: {gap}" for gap in self.gaps]
        problems = list(dict.fromkeys(problems))  # an annotation that cannot be read stops each fold that needs it
        rates = {au: (int(a), int(b)) for au, a, b in zip(self.au_numbers, on, known, strict=True)}
        return Findings(
            self.name,
            self.root,
            count,
            frames,
            tuple(sorted(subjects)),
            rates,
            tuple(self.notes),
            tuple(problems),
            self.unknown(),
        )

    def lacking(self) -> list[str]:
        """Videos and subjects that are published and not annotated here, in words; the cheap part of `check`, which
        looks at names alone."""
        names = self.names()
        return self._lacking({"videos": len(names), "subjects": len({self.subject_of(name) for name in names})})

    def _lacking(self, found: Mapping[str, int]) -> list[str]:
        return [
            f"{self.name}: expected {self.published[what]} {what}, found {got}{self.absent(what)}"
            for what, got in found.items()
            if what in self.published and got != self.published[what]
        ]

    def unknown(self) -> str:
        """Why nobody can say whether the copy is complete; empty where the published counts say it."""
        return "" if self.published else "no counts are published"

    def absent(self, what: str) -> str:
        """ "; missing: ..." for the check where the complete list is known, else an empty string."""
        return ""

    def _check_part(self, part: str, fold: int | None) -> None:
        if part not in PARTS:
            raise DatasetError(f"{self.name}: expected the part train or test, got {part!r}")
        if self.folds and fold not in self.folds:
            raise DatasetError(f"{self.name}: expected a fold out of {list(self.folds)}, got {fold!r}")
        if not self.folds and fold is not None:
            raise DatasetError(f"{self.name}: has one official division and no folds, got fold {fold}; leave it out")


def select_listed(corpus: Corpus, lines: Iterable[tuple[Path, int, str, int]], skip_missing: bool) -> list[Selection]:
    """The frames that lists name.

    Args:
        lines: (list, its line, video, frame number).
        skip_missing: count what the data set lacks in `corpus.notes` instead of raising.

    Raises DatasetError naming list and line of the first frame that is missing, and how many are.
    """
    wanted: dict[str, list[tuple[int, Path, int]]] = {}
    for path, line, name, frame in lines:
        wanted.setdefault(name, []).append((frame, path, line))
    known = set(corpus.names())
    selections, missing = [], []
    for name, entries in wanted.items():
        if name not in known:
            missing += [(path, line, f"{name} frame {frame}") for frame, path, line in entries]
            continue
        video = corpus.video(name)
        numbers = np.array([frame for frame, _, _ in entries], np.int64)
        at = np.searchsorted(video.frames, numbers)
        there = video.frames[np.minimum(at, video.n_frames - 1)] == numbers if video.n_frames else numbers < 0
        missing += [
            (path, line, f"{name} frame {frame}")
            for (frame, path, line), found in zip(entries, there, strict=True) if not found
        ]  # fmt: skip
        chosen = np.zeros(video.n_frames, bool)
        chosen[at[there]] = True
        if chosen.any():
            selections.append(Selection(video, chosen))
    if missing:
        path, line, what = missing[0]
        message = f"{path}:{line}: names {what}, which has no annotated picture in {corpus.root}"
        message += f"; {len(missing)} such lines" if len(missing) > 1 else ""
        if not skip_missing:
            raise DatasetError(message + "; complete the data set, or leave them out (--skip-missing)")
        corpus.notes.append(message + "; left out")
    if not selections:
        raise DatasetError(f"{corpus.name}: no frame of the fold lists is in {corpus.root}")
    return selections


def spans(names: Sequence[str]) -> str:
    """Names in words, those that count on as one: F001-F003, M002; of many the first."""
    found: list[list[str]] = []
    for name in names:
        before = _COUNTED.fullmatch(found[-1][-1]) if found else None
        match = _COUNTED.fullmatch(name)
        goes_on = before and match and (before[1], len(before[2]), int(before[2]) + 1) == (
            match[1], len(match[2]), int(match[2])
        )  # fmt: skip
        if goes_on:
            found[-1].append(name)
        else:
            found.append([name])
    shown = [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found[:SPANS]]
    more = sum(len(run) for run in found[SPANS:])
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")


def named(values: Sequence[Any]) -> str:
    """Up to three values in words, and how many more there are."""
    more = f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else ""
    return ", ".join(str(value) for value in values[:EXAMPLES]) + more


def check_exclusive(corpus: str, train: Iterable[str], test: Iterable[str]) -> None:
    """Raise DatasetError where a subject is in both parts."""
    both = sorted(set(train) & set(test))
    if both:
        raise DatasetError(f"{corpus}: subjects in train and in test: {named(both)}; the lists do not belong together")


def _undecodable(video: Video) -> list[str]:
    bad: list[str] = []
    for index in range(video.n_frames):
        try:
            video.read(index)
        except DatasetError as error:
            bad.append(str(error))
    if not bad:
        return []
    return [f"{video.corpus}: {video.video}: {len(bad)} of {video.n_frames} pictures cannot be read: {bad[0]}"]
