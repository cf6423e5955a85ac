"""BP4D (Zhang et al., 2014): 41 subjects x 8 tasks, 25 Hz, occurrence of 12 AUs; the paper's section V-A.

<root>/.../F001/T1/2440.jpg             frames, any width of the number
<root>/.../AU_OCC/F001_T1.csv           one row per coded frame: number, then one column per AU: 0, 1, 9 (not coded)
<root>/.../BP4D_tr1_path.txt, BP4D_ts1_path.txt ...   three folds, lines `F007_T1_0643.jpg`
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from train.data.corpora.corpus import Corpus, DatasetError, Selection, Video, check_exclusive, named, select_listed
from train.data.reading import ImageFiles, find_folder, read_list, read_numbers, subfolders

AU_NUMBERS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
TASKS = tuple(f"T{i}" for i in range(1, 9))
SUBJECTS = tuple(f"F{i:03d}" for i in range(1, 24)) + tuple(f"M{i:03d}" for i in range(1, 19))
FPS = 25.0
NOT_CODED = 9
TEST_SUBJECTS = {
    1: "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014".split(),
    2: "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005".split(),
    3: "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008".split(),
}
"""Subjects of the test parts of the three folds that are in use since JAA-Net; the authors' lists name their frames."""

_SUBJECT, _VIDEO = re.compile(r"[FM]\d{3}"), re.compile(r"([FM]\d{3})_(T\d)\.csv")
_LINE = r"([FM]\d{3})[_/](T\d)[_/](\d+)(?:\.(?:jpg|jpeg|png))?"


class BP4D(Corpus):
    """See the module. Raises DatasetError where the root has no frames or no annotation."""

    name = "bp4d"
    au_numbers = AU_NUMBERS
    folds = (1, 2, 3)
    published = {"videos": 328, "subjects": 41, "frames": 133_000}  # noqa: RUF012
    # The paper: about 140,000 frames; a twentieth less counts as too few.

    def __init__(self, root: str | os.PathLike[str], lists: str | os.PathLike[str] | None = None) -> None:
        super().__init__(root)
        coding = find_folder(self.root, lambda f: any(_VIDEO.fullmatch(p.name) for p in f.glob("*_T*.csv")), 3)
        if coding is None:
            raise DatasetError(
                f"bp4d: found no AU_OCC/F001_T1.csv at or under {self.root}; unpack the data set's AUCoding there"
            )
        frames = find_folder(self.root, _has_videos, 3)
        if frames is None:
            raise DatasetError(
                f"bp4d: found no frames F001/T1/*.jpg at or under {self.root}; unpack the sequences there"
            )
        self.coding, self.frames_folder = coding, frames
        self.lists = Path(lists) if lists is not None else find_folder(self.root, _has_lists, 3)
        if lists is not None and not _has_lists(Path(lists)):
            raise DatasetError(f"bp4d: expected BP4D_tr1_path.txt and BP4D_ts1_path.txt in {lists}, found none")
        if self.lists is None:
            self.notes.append("no fold lists; the folds are by subject, with all coded frames")
        self._names = tuple(sorted(f"{m[1]}_{m[2]}" for m in (_VIDEO.fullmatch(p.name) for p in coding.iterdir()) if m))

    def names(self) -> tuple[str, ...]:
        return self._names

    def subject_of(self, name: str) -> str:
        return name.split("_")[0]

    def load(self, name: str) -> Video:
        subject, task = name.split("_")
        path = self.coding / f"{name}.csv"
        numbers, labels = _read_coding(path)
        there, files = ImageFiles.numbered(self.frames_folder / subject / task, r"(\d+)\.(?:jpg|jpeg|png)")
        _, rows, at = np.intersect1d(numbers, there, assume_unique=True, return_indices=True)
        without = len(numbers) - len(rows)
        if without and len(rows):
            first = np.setdiff1d(numbers, there)[0]
            self.gaps.append(f"{name}: {without} of {len(numbers)} coded frames have no picture, the first is {first}")
        reader = ImageFiles(self.frames_folder / subject / task, files[at])
        return Video(self.name, name, subject, FPS, numbers[rows], labels[rows], AU_NUMBERS, reader)

    def frame_of(self, text: str) -> tuple[str, int] | None:
        match = re.fullmatch(rf"(?:.*/)?{_LINE}", text.strip(), re.IGNORECASE)
        return (f"{match[1].upper()}_{match[2].upper()}", int(match[3])) if match else None

    def select(self, part: str, fold: int | None = None, skip_missing: bool = False) -> list[Selection]:
        self._check_part(part, fold)
        assert fold is not None  # _check_part
        if self.lists is None:
            test = TEST_SUBJECTS[fold]
            wanted = [n for n in self.names() if (self.subject_of(n) in test) == (part == "test")]
            if not wanted:
                raise DatasetError(f"bp4d: no video in {self.root} belongs to {part} of fold {fold}")
            return [Selection(v, np.ones(v.n_frames, bool)) for v in map(self.video, wanted) if v.n_frames]
        files = {which: self.lists / f"BP4D_{which}{fold}_path.txt" for which in ("tr", "ts")}
        listed = {which: list(_lines(path)) for which, path in files.items()}
        check_exclusive(
            self.name, *({self.subject_of(name) for _, _, name, _ in listed[which]} for which in ("tr", "ts"))
        )
        return select_listed(self, listed["tr" if part == "train" else "ts"], skip_missing)

    def annotations(self) -> list[Path]:
        lists = sorted(self.lists.glob("BP4D_*_path.txt")) if self.lists is not None else []
        return [*(self.coding / f"{name}.csv" for name in self._names), *lists]

    def further_problems(self) -> list[str]:
        problems = []
        for fold in self.folds if self.lists is not None else ():
            for part in ("train", "test"):
                try:
                    self.select(part, fold)
                except DatasetError as error:
                    problems.append(str(error))
        return problems

    def absent(self, what: str) -> str:
        there = set(self.names()) if what == "videos" else {self.subject_of(name) for name in self.names()}
        complete = [f"{s}_{t}" for s in SUBJECTS for t in TASKS] if what == "videos" else SUBJECTS
        missing = [name for name in complete if name not in there]
        return f"; missing: {named(missing)}" if missing else ""


def _read_coding(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers (rows,) int64 and labels (rows, 12) float32 of an occurrence file; its header names the AUs."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = [cell.strip().lstrip("AUau") for cell in file.readline().split(",")]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the annotation cannot be read: {error}") from error
    columns = {int(cell): i for i, cell in enumerate(header) if i and cell.isdigit()}
    lacking = [au for au in AU_NUMBERS if au not in columns]
    if lacking:
        raise DatasetError(f"{path}:1: expected columns named by AU, found none for {named(lacking)}")
    table = read_numbers(path, 1, len(header))
    codes = table[:, [columns[au] for au in AU_NUMBERS]]
    wrong = np.flatnonzero(~np.isin(codes, (0, 1, NOT_CODED)).all(1) | (table[:, 0] != np.floor(table[:, 0])))
    if len(wrong):
        raise DatasetError(f"{path}:{wrong[0] + 2}: expected a frame number, then 0, 1 or {NOT_CODED} for each AU")
    numbers, rows = np.unique(table[:, 0].astype(np.int64), return_index=True)
    if len(numbers) != len(table):
        twice = np.setdiff1d(np.arange(len(table)), rows)[0]
        raise DatasetError(f"{path}:{twice + 2}: frame {int(table[twice, 0])} has two rows")
    labels = np.where(codes == NOT_CODED, np.nan, codes).astype(np.float32)
    return numbers, labels[rows]


def _lines(path: Path) -> Iterator[tuple[Path, int, str, int]]:
    for line, (subject, task, frame) in read_list(path, _LINE):
        yield path, line, f"{subject.upper()}_{task.upper()}", int(frame)


def _has_videos(folder: Path) -> bool:
    people = [child for child in subfolders(folder) if _SUBJECT.fullmatch(child.name)]
    return any((child / task).is_dir() for child in people for task in TASKS)


def _has_lists(folder: Path) -> bool:
    return any((folder / f"BP4D_ts{fold}_path.txt").is_file() for fold in (1, 2, 3))
