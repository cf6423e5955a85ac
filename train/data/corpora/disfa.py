"""DISFA (Mavadati et al., 2013): 27 subjects, 20 Hz, intensity 0-5; the paper's section V-A takes the left camera,
8 AUs, on from intensity 2.

    <root>/.../LeftVideoSN001_comp.avi      the left camera's videos (Video_LeftCamera), or frames of them:
    <root>/.../LeftVideoSN001_comp_00000000.jpg, or SN001/0.jpg, numbered from 0
    <root>/.../ActionUnit_Labels/SN001/SN001_au1.txt   lines `frame,intensity`, frames from 1
    <root>/.../DISFA_part1_path.txt ...     three parts, lines `DISFA/SN002/0.jpg`, frames from 0
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from train.data.corpora.corpus import Corpus, DatasetError, Selection, Video, check_exclusive, named, select_listed
from train.data.reading import (
    FrameReader,
    ImageFiles,
    VideoFrames,
    find_folder,
    read_list,
    read_numbers,
    subfolders,
    video_facts,
)

AU_NUMBERS = (1, 2, 4, 6, 9, 12, 25, 26)
ON_FROM = 2
FPS = 20.0
PART_SUBJECTS = {
    1: "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016".split(),
    2: "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024".split(),
    3: "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004".split(),
}
"""Subjects of the three parts that are in use since JAA-Net; fold k is tested on part k."""
SUBJECTS = tuple(sorted(name for part in PART_SUBJECTS.values() for name in part))

_SUBJECT = re.compile(r"SN\d{3}")
_LINE = r"(?:.*/)?(SN\d{3})/(\d+)(?:\.(?:jpg|jpeg|png))?"


class DISFA(Corpus):
    """See the module; frame numbers count from 0, as in the parts' lists. Raises DatasetError where the root has no
    labels or no frames of the left camera."""

    name = "disfa"
    au_numbers = AU_NUMBERS
    folds = (1, 2, 3)
    published = {"videos": 27, "subjects": 27, "frames": 100_000}  # noqa: RUF012
    # The paper: over 100,000 frames.

    def __init__(self, root: str | os.PathLike[str], lists: str | os.PathLike[str] | None = None) -> None:
        super().__init__(root)
        labels = find_folder(self.root, lambda f: any((c / f"{c.name}_au1.txt").is_file() for c in _people(f)), 3)
        if labels is None:
            raise DatasetError(
                f"disfa: found no ActionUnit_Labels/SN001/SN001_au1.txt at or under {self.root}; "
                "unpack the labels there"
            )
        self.labels_folder = labels
        self._videos_folder = find_folder(self.root, lambda f: any(f.glob("LeftVideoSN*_comp.avi")), 3)
        self._flat_folder = find_folder(self.root, lambda f: _first(f, "LeftVideoSN*_comp_*.jpg"), 3)
        self._split_folder = find_folder(self.root, lambda f: any(_first(c, "*.jpg", "*.png") for c in _people(f)), 3)
        if self._videos_folder is None and self._flat_folder is None and self._split_folder is None:
            raise DatasetError(
                f"disfa: found neither LeftVideoSN001_comp.avi nor frames LeftVideoSN001_comp_00000000.jpg or "
                f"SN001/0.jpg at or under {self.root}; unpack Video_LeftCamera there"
            )
        self.lists = Path(lists) if lists is not None else find_folder(self.root, _has_lists, 3)
        if lists is not None and not _has_lists(Path(lists)):
            raise DatasetError(f"disfa: expected DISFA_part1_path.txt in {lists}, found none")
        if self.lists is None:
            self.notes.append("no part lists; the parts are by subject, with all labelled frames")
        self._names = tuple(child.name for child in _people(labels))

    def names(self) -> tuple[str, ...]:
        return self._names

    def subject_of(self, name: str) -> str:
        return name

    def load(self, name: str) -> Video:
        labels = _read_labels(self.labels_folder / name, name)
        numbers, reader = self._frames(name, len(labels))
        if len(numbers) < len(labels):
            self.gaps.append(f"{name}: {len(labels)} labelled frames, {len(numbers)} of them have a picture")
        return Video(self.name, name, name, FPS, numbers, labels[numbers], AU_NUMBERS, reader)

    def annotations(self) -> list[Path]:
        lists = sorted(self.lists.glob("DISFA_*_path.txt")) if self.lists is not None else []
        return [*(file for name in self._names for file in sorted((self.labels_folder / name).glob("*.txt"))), *lists]

    def _frames(self, name: str, count: int) -> tuple[np.ndarray, FrameReader]:
        """Frame numbers from 0, under `count`, that have a picture, and their reader: frames before the video."""
        for folder, pattern in (
            (self._split_folder / name if self._split_folder else None, r"(\d+)\.(?:jpg|jpeg|png)"),
            (self._flat_folder, rf"LeftVideo{name}_comp_(\d+)\.(?:jpg|jpeg|png)"),
        ):
            if folder is not None:
                numbers, files = ImageFiles.numbered(folder, pattern)
                if len(numbers):
                    keep = numbers < count
                    return numbers[keep], ImageFiles(folder, files[keep])
        path = (self._videos_folder or self.root) / f"LeftVideo{name}_comp.avi"
        if not path.is_file():
            return np.empty(0, np.int64), VideoFrames(path, np.empty(0, np.int64))
        numbers = np.arange(min(count, video_facts(path)[0]), dtype=np.int64)
        return numbers, VideoFrames(path, numbers)

    def frame_of(self, text: str) -> tuple[str, int] | None:
        match = re.fullmatch(r"(?:.*/)?LeftVideo(SN\d{3})_comp_(\d+)\.(?:jpg|jpeg|png)", text.strip(), re.IGNORECASE)
        match = match or re.fullmatch(_LINE, text.strip(), re.IGNORECASE)
        return (match[1].upper(), int(match[2])) if match else None

    def select(self, part: str, fold: int | None = None, skip_missing: bool = False) -> list[Selection]:
        self._check_part(part, fold)
        assert fold is not None  # _check_part
        wanted = [fold] if part == "test" else [k for k in self.folds if k != fold]
        if self.lists is None:
            names = [name for k in wanted for name in PART_SUBJECTS[k] if name in self._names]
            if not names:
                raise DatasetError(f"disfa: no video in {self.root} belongs to {part} of fold {fold}")
            return [Selection(v, np.ones(v.n_frames, bool)) for v in map(self.video, names) if v.n_frames]
        parts = {k: list(_lines(self.lists / f"DISFA_part{k}_path.txt")) for k in self.folds}
        people = {k: {name for _, _, name, _ in lines} for k, lines in parts.items()}
        check_exclusive(self.name, set().union(*(people[k] for k in self.folds if k != fold)), people[fold])
        return select_listed(self, [line for k in wanted for line in parts[k]], skip_missing)

    def further_problems(self) -> list[str]:
        problems = []
        for fold in self.folds if self.lists is not None else ():
            try:
                self.select("test", fold)
            except DatasetError as error:
                problems.append(str(error))
        return problems

    def absent(self, what: str) -> str:
        missing = [name for name in SUBJECTS if name not in self._names]
        return f"; missing: {named(missing)}" if missing else ""


def _read_labels(folder: Path, name: str) -> np.ndarray:
    """(frames, 8) float32, 0 or 1, from the files of one subject; row i is frame i from 0."""
    columns: list[np.ndarray] = []
    for au in AU_NUMBERS:
        path = folder / f"{name}_au{au}.txt"
        if not path.is_file():
            raise DatasetError(f"{path}: the labels of AU{au} are missing; unpack ActionUnit_Labels again")
        table = read_numbers(path, 0, 2)
        wrong = np.flatnonzero((table[:, 0] != np.arange(1, len(table) + 1)) | ~np.isin(table[:, 1], range(6)))
        if len(wrong):
            line = wrong[0] + 1
            raise DatasetError(f"{path}:{line}: expected `{line},intensity` with an intensity from 0 to 5")
        if columns and len(table) != len(columns[0]):
            raise DatasetError(f"{path}: {len(table)} frames, and AU{AU_NUMBERS[0]} has {len(columns[0])}")
        columns.append(table[:, 1])
    return (np.stack(columns, 1) >= ON_FROM).astype(np.float32)


def _lines(path: Path) -> Iterator[tuple[Path, int, str, int]]:
    for line, (subject, frame) in read_list(path, _LINE):
        yield path, line, subject.upper(), int(frame)


def _people(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if _SUBJECT.fullmatch(child.name)]


def _first(folder: Path, *patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def _has_lists(folder: Path) -> bool:
    return any((folder / f"DISFA_part{k}_path.txt").is_file() for k in (1, 2, 3))
