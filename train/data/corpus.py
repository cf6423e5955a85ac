"""What every data set of the paper is to the training: videos with frames, labels and subjects, checked before use.

A corpus is opened at a root that the user gives, in the layout its owners publish (docs/data.md). Opening looks at the
folders and raises DatasetError where nothing can be done; `check` reads everything and tells what it found.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from train.data.sequences import DatasetError

__all__ = [
    "CORPORA", "Corpus", "DatasetError", "Findings", "FrameReader", "ImageFiles", "Selection", "Video", "VideoFrames",
    "decode_image", "open_corpus", "read_numbers",
]  # fmt: skip

CORPORA = ("bp4d", "disfa", "affwild2")
PARTS = ("train", "test")
EXAMPLES = 3
"""this many of a kind are named in a problem; the rest is counted"""


class FrameReader(Protocol):
    """Reads the frames of one video by position; can be pickled."""

    def read(self, index: int) -> NDArray[np.uint8]:
        """Frame at `index` (0 .. n_frames - 1), uint8 (H, W, 3) BGR; DatasetError where it cannot be decoded."""
        ...

    def place(self, index: int) -> str:
        """Where that frame is stored, for messages."""
        ...


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
    frames: int
    """annotated frames with a picture"""
    subjects: tuple[str, ...]
    positives: Mapping[int, tuple[int, int]]
    """per AU: frames where it is on, frames where it is labelled"""
    notes: tuple[str, ...]
    """what is as it may be, and worth knowing"""
    problems: tuple[str, ...]
    """what is missing or wrong, in words, with the file's name"""

    @property
    def ok(self) -> bool:
        """Whether the copy is complete and readable."""
        return not self.problems

    def text(self) -> str:
        """Several lines for a terminal."""
        lines = [
            f"{self.corpus} in {self.root}",
            f"  {self.videos} videos, {self.frames:,} frames, {len(self.subjects)} subjects",
            "  on: " + ", ".join(
                f"AU{au} {on / known:.1%}" if known else f"AU{au} -" for au, (on, known) in self.positives.items()
            ),
            *(f"  note: {note}" for note in self.notes),
            *(f"  problem: {problem}" for problem in self.problems),
            "  complete" if self.ok else f"  {len(self.problems)} problems",
        ]  # fmt: skip
        return "\n".join(lines)


class Corpus:
    """Base of the loaders. A subclass lists its videos, loads one, and says which frames a part of a fold has."""

    name: str = ""
    au_numbers: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()
    """numbers of the folds; empty: one official division"""
    published: Mapping[str, int] = {}
    """videos and subjects of the complete data set"""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"{self.name}: expected the data set's folder, {self.root} is none; give its root")
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
        """Read all annotations, and with `decode` all pictures; nothing found wrong is raised, all of it is told.

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
        for what, got in (("videos", count), ("subjects", len(subjects))):
            expected = self.published.get(what)
            if expected is not None and got != expected:
                problems.append(f"{self.name}: expected {expected} {what}, found {got}" + self.absent(what))
        problems += self.further_problems() + [f"{self.name}: {gap}" for gap in self.gaps]
        rates = {au: (int(a), int(b)) for au, a, b in zip(self.au_numbers, on, known, strict=True)}
        return Findings(
            self.name, self.root, count, frames, tuple(sorted(subjects)), rates, tuple(self.notes), tuple(problems)
        )

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


def open_corpus(name: str, root: str | os.PathLike[str], lists: str | os.PathLike[str] | None = None) -> Corpus:
    """The corpus `name` (bp4d, disfa, affwild2) at its root.

    Args:
        lists: folder of the fold lists, for bp4d and disfa; None: searched under the root, and where there are none
            the division by subjects that these lists stand for.

    Raises DatasetError where the root does not have the published layout: what was looked for, and where.
    """
    from train.data.affwild2 import AffWild2
    from train.data.bp4d import BP4D
    from train.data.disfa import DISFA

    if name == "bp4d":
        return BP4D(root, lists)
    if name == "disfa":
        return DISFA(root, lists)
    if name == "affwild2":
        return AffWild2(root)
    raise DatasetError(f"expected a data set out of {', '.join(CORPORA)}, got {name!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
    """Frames that are picture files of one folder."""

    folder: Path
    files: NDArray[np.bytes_]
    """(n_frames,) names in the folder, ASCII"""

    def place(self, index: int) -> str:
        return str(self.folder / self.files[index].decode())

    def read(self, index: int) -> NDArray[np.uint8]:
        return decode_image(self.place(index))

    @classmethod
    def numbered(cls, folder: Path, pattern: str) -> tuple[NDArray[np.int64], NDArray[np.bytes_]]:
        """Numbers, ascending, and names of the files in `folder` whose whole name fits a pattern with one group."""
        fits = re.compile(pattern, re.IGNORECASE)
        found: dict[int, str] = {}
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    match = fits.fullmatch(entry.name)
                    if match and entry.name.isascii():
                        found.setdefault(int(match[1]), entry.name)
        numbers = sorted(found)
        names = np.array([found[n].encode() for n in numbers]) if numbers else np.empty(0, "S1")
        return np.array(numbers, np.int64), names


class VideoFrames:
    """Frames of a video file, decoded in order; going back begins anew, so read it in order (or extract the frames
    once with `prepare`). A frame counts as read when it was decoded: no seeking by time stamps, which is off by
    frames in many files."""

    def __init__(self, path: Path, positions: NDArray[np.int64]) -> None:
        self.path, self.positions = path, positions
        self._capture: Any = None
        self._next = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "positions": self.positions, "_capture": None, "_next": 0}

    def place(self, index: int) -> str:
        return f"{self.path} frame {self.positions[index]}"

    def read(self, index: int) -> NDArray[np.uint8]:
        wanted = int(self.positions[index])
        if self._capture is None or wanted < self._next:
            self.close()
            self._capture, self._next = _open_video(self.path), 0
        while self._next < wanted:
            if not self._capture.grab():
                raise DatasetError(f"{self.place(index)}: the video ends or breaks at frame {self._next}")
            self._next += 1
        ok, image = self._capture.read()
        if not ok:
            raise DatasetError(f"{self.place(index)}: cannot be decoded; the video ends or is damaged there")
        self._next += 1
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Give the file back."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def video_facts(path: Path) -> tuple[int, float]:
    """Declared frames and frames per second of a video file; DatasetError where it cannot be opened."""
    from aunet_sdk.sources.base import load_cv2

    cv2 = load_cv2()
    capture = _open_video(path)
    try:
        count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return (int(count) if 0 < count < 1e9 else 0), (float(fps) if 1 <= fps <= 1000 else 25.0)


def _open_video(path: Path) -> Any:
    from aunet_sdk.sources.base import quiet_cv2

    with quiet_cv2() as cv2:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise DatasetError(f"{path}: no video that can be opened; it is missing or damaged, copy it again")
    return capture


def decode_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A picture as uint8 (H, W, 3) BGR. DatasetError naming the file where it is missing, empty, cut short (a decoder
    would fill up the rest with grey without a word) or no picture."""
    from aunet_sdk.errors import InvalidInput
    from aunet_sdk.sources.images import read_image

    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(0, io.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            tail = file.read()
        end = b"\xff\xd9" if head.startswith(b"\xff\xd8") else b"IEND" if head.startswith(b"\x89PNG") else b""
        if end not in tail:
            raise DatasetError(f"{path}: the picture is cut short; copy it again")
        return np.asarray(read_image(path), np.uint8)
    except (InvalidInput, OSError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def read_numbers(path: Path, skip: int, width: int | None = None) -> NDArray[np.float64]:
    """The comma-separated numbers of an annotation file.

    Args:
        skip: lines of header.  width: numbers per line, None: as many as in the first.

    Returns:
        (rows, columns) float64; blank lines at the end are passed over.

    Raises:
        DatasetError: the file cannot be read, is empty, or a line is not `width` finite numbers: file and line are
            named.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the annotation cannot be read: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    lines = lines[skip:]
    if not lines:
        raise DatasetError(f"{path}: expected rows of numbers after {skip} lines of header, the file ends")
    width = width or lines[0].count(",") + 1
    if all(line.count(",") == width - 1 for line in lines):
        try:
            table = np.array(",".join(lines).split(","), np.float64).reshape(len(lines), width)
            if np.isfinite(table).all():
                return table
        except ValueError:
            pass
    for number, line in enumerate(lines, skip + 1):
        cells = line.split(",")
        try:
            good = len(cells) == width and all(math.isfinite(float(cell)) for cell in cells)
        except ValueError:
            good = False
        if not good:
            raise DatasetError(f"{path}:{number}: expected {width} numbers with commas, got {line[:60]!r}")
    raise DatasetError(f"{path}: the annotation cannot be read")


def find_folder(root: Path, fits: Callable[[Path], bool], depth: int) -> Path | None:
    """The first folder at or under `root`, in breadth and by name, that `fits`; not deeper than `depth`."""
    level = [root]
    for _ in range(depth + 1):
        for folder in level:
            if fits(folder):
                return folder
        level = [child for folder in level for child in subfolders(folder)]
    return None


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def read_list(path: Path, pattern: str) -> list[tuple[int, tuple[str, ...]]]:
    """Lines of a fold list as (number of the line, groups of the pattern); blank lines are passed over.

    Raises DatasetError naming file and line where a line does not fit, or the list is empty.
    """
    fits = re.compile(pattern, re.IGNORECASE)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the fold list cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = fits.fullmatch(line.strip())
        if match is None:
            raise DatasetError(f"{path}:{number}: expected a line like those of the authors' lists, got {line[:60]!r}")
        found.append((number, match.groups()))
    if not found:
        raise DatasetError(f"{path}: the fold list is empty")
    return found


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
            raise DatasetError(message + "; complete the data set, or leave them out (skip_missing)")
        corpus.notes.append(message + "; left out")
    if not selections:
        raise DatasetError(f"{corpus.name}: no frame of the fold lists is in {corpus.root}")
    return selections


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
