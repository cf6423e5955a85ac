"""AffWild2 (Kollias and Zafeiriou, 2019): in the wild, official training and validation set, -1 where not labelled.

<root>/.../AU_Detection_Challenge/Train_Set/<name>.txt, Validation_Set/<name>.txt
    first line the AUs (`AU1,AU2,...`), then one line per frame: 0, 1 or -1
<root>/.../<name>.mp4 or .avi   batch1, batch2; <name> may end in _left or _right where two people are in the video
<root>/.../cropped_aligned/<name>/00001.jpg   frames from 1, of the videos that have no file; or cropped/, or frames/
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from aunet_sdk.facs import AU_NUMBERS as KNOWN_AUS
from train.data.corpora.corpus import Corpus, DatasetError, Selection, Video, named
from train.data.reading import FrameReader, ImageFiles, VideoFrames, find_folder, read_numbers, subfolders, video_facts

SETS = {"train": ("Train_Set", "Training_Set"), "test": ("Validation_Set",)}
FRAME_FOLDERS = ("cropped_aligned", "cropped", "cropped_images", "frames")
CROPPED = ("cropped_aligned", "cropped", "cropped_images")
VIDEO_SUFFIXES = (".mp4", ".avi")
EARLY = 20
"""the AU that only the early release labels, the one of the paper"""
PUBLISHED = {"train": 215_000, "test": 63_000}
"""labelled frames of its parts: the paper has about 227,000 and 67,000; a twentieth less counts as too few"""
FPS = 30.0
"""of a folder of frames, which does not say its own; nearly all of the videos have it"""

_SIDE = re.compile(r"(.+)_(left|right)")


class AffWild2(Corpus):
    """See the module. The part "test" is the official validation set (the test labels are not public). A video's name
    stands for its subject: the official division is by subject, and publishes no other identity. The AUs are those of
    the annotation's first line, less those outside the 15 of the paper's Table I (AU20 in the early release).

    Raises DatasetError where the root has no annotation or no frames.
    """

    name = "affwild2"

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        annotation = find_folder(self.root, _is_annotation, 4)
        if annotation is None:
            raise DatasetError(
                f"affwild2: found no AU_Detection_Challenge with Train_Set and Validation_Set at or under {self.root}; "
                "unpack the AU annotations there"
            )
        self._files: dict[str, Path] = {}
        self._parts: dict[str, list[str]] = {}
        for part, folders in SETS.items():
            files = sorted(file for name in folders for file in (annotation / name).glob("*.txt"))
            if not files:
                raise DatasetError(f"affwild2: expected {annotation / folders[0]}/*.txt, found none")
            self._parts[part] = [file.stem for file in files]
            for file in files:
                if file.stem in self._files:
                    raise DatasetError(f"affwild2: {file.stem} is annotated in {self._files[file.stem]} and in {file}")
                self._files[file.stem] = file
        self._frame_folder = find_folder(self.root, lambda f: f.name in FRAME_FOLDERS and bool(subfolders(f)), 3)
        self._video_files = _video_files(self.root)
        if self._frame_folder is None and not self._video_files:
            raise DatasetError(
                f"affwild2: found neither cropped_aligned/<video>/00001.jpg nor batch1/*.mp4 at or under {self.root}; "
                "unpack the frames or the videos there"
            )
        self._note_pictures()
        self._without: dict[str, int] = {}
        first = self._files[self._parts["train"][0]]
        self._header = _read_header(first)
        self.au_numbers = tuple(sorted(au for au in self._header if au in KNOWN_AUS))
        dropped = [f"AU{au}" for au in self._header if au not in KNOWN_AUS]
        if dropped:
            self.notes.append(f"left out, not among the 15 AUs: {', '.join(dropped)}")

    def _note_pictures(self) -> None:
        """Say where the pictures come from, where that is not whole frames."""
        without = [name for name in self.names() if self._video_of(name) is None]
        if self._frame_folder is not None and len(without) < len(self._files):
            self.notes.append(
                f"{len(self._files) - len(without)} videos are read from their files and not from "
                f"{self._frame_folder.name}; for its pictures give a root without the videos"
            )
        if self._frame_folder is not None and without and self._frame_folder.name in CROPPED:
            self.notes.append(
                f"{len(without)} videos come from {self._frame_folder.name}, whose pictures are cut out (112 px where "
                "they are aligned, too); the paper cuts its own of 256 px out of whole frames"
            )

    def _video_of(self, name: str) -> Path | None:
        side = _SIDE.fullmatch(name)
        return self._video_files.get(name) or self._video_files.get(side[1] if side else name)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def subject_of(self, name: str) -> str:
        return name

    def load(self, name: str) -> Video:
        path = self._files[name]
        header = _read_header(path)
        if set(header) != set(self._header):
            raise DatasetError(f"{path}:1: expected the same AUs as in the other files, {self._header}, got {header}")
        table = read_numbers(path, 1, len(header))
        wrong = np.flatnonzero(~np.isin(table, (-1, 0, 1)).all(1))
        if len(wrong):
            raise DatasetError(f"{path}:{wrong[0] + 2}: expected 0, 1 or -1 for each AU")
        codes = table[:, [header.index(au) for au in self.au_numbers]]
        labels = np.where(codes < 0, np.nan, codes).astype(np.float32)
        side = _SIDE.fullmatch(name)
        fps, numbers, reader = self._frames(name, len(labels))
        if len(numbers) < len(labels):
            self._without[name] = len(labels) - len(numbers)
        in_picture = side[2] if side and isinstance(reader, VideoFrames) else None
        return Video(self.name, name, name, fps, numbers, labels[numbers - 1], self.au_numbers, reader, in_picture)

    def annotations(self) -> list[Path]:
        return [self._files[name] for name in self.names()]

    def _frames(self, name: str, count: int) -> tuple[float, np.ndarray, FrameReader]:
        """Frames per second, frame numbers from 1 that have a picture, their reader."""
        path = self._video_of(name)
        if path is None and self._frame_folder is not None:
            folder = self._frame_folder / name
            numbers, files = ImageFiles.numbered(folder, r"(\d+)\.(?:jpg|jpeg|png)")
            keep = (numbers >= 1) & (numbers <= count)
            return FPS, numbers[keep], ImageFiles(folder, files[keep])
        if path is None:
            none = np.empty(0, np.int64)
            return FPS, none, VideoFrames(self.root / f"{name}.mp4", none)
        declared, fps = video_facts(path)
        positions = np.arange(min(count, declared), dtype=np.int64)
        return fps, positions + 1, VideoFrames(path, positions)

    def further_problems(self) -> list[str]:
        if self._without:
            count, videos = sum(self._without.values()), len(self._without)
            self.notes.append(f"{count} annotated frames of {videos} videos have no picture and are left out")
        if EARLY not in self._header:
            return []
        counts = {part: sum(self._labelled(name) for name in names) for part, names in self._parts.items()}
        return [
            f"affwild2: expected at least {least:,} labelled frames of {SETS[part][0]}, found {counts[part]:,}"
            for part, least in PUBLISHED.items()
            if counts[part] < least
        ]

    def _labelled(self, name: str) -> int:
        """Labelled frames with a picture; 0 where the annotation cannot be read, which `check` reports by itself."""
        try:
            return int((~np.isnan(self.video(name).labels).all(1)).sum())
        except DatasetError:
            return 0

    def unknown(self) -> str:
        if EARLY in self._header:
            return ""
        return f"no counts of videos or frames are known for the annotation of {len(self._header)} AUs without AU20"

    def frame_of(self, text: str) -> tuple[str, int] | None:
        match = re.fullmatch(r"(?:.*/)?([^/]+)/(\d+)\.(?:jpg|jpeg|png)", text.strip(), re.IGNORECASE)
        return (match[1], int(match[2])) if match else None

    def select(self, part: str, fold: int | None = None, skip_missing: bool = False) -> list[Selection]:
        self._check_part(part, fold)
        videos = [self.video(name) for name in self._parts[part]]
        without = [video.video for video in videos if not video.n_frames]
        if without and not skip_missing:
            raise DatasetError(
                f"affwild2: {len(without)} annotated videos of {part} have no pictures in {self.root}: "
                f"{named(without)}; complete the data set, or leave them out (--skip-missing)"
            )
        if without:
            self.notes.append(f"{part}: {len(without)} videos without pictures left out: {named(without)}")
        return [Selection(v, np.logical_not(np.isnan(v.labels).all(1))) for v in videos if v.n_frames]


def _read_header(path: Path) -> list[int]:
    """The AUs of an annotation's first line, in its order."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            cells = [cell.strip() for cell in file.readline().strip().split(",")]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the annotation cannot be read: {error}") from error
    found = [re.fullmatch(r"AU0?(\d+)", cell, re.IGNORECASE) for cell in cells]
    if not all(found):
        raise DatasetError(f"{path}:1: expected the AUs' names, AU1,AU2,..., got {','.join(cells)[:60]!r}")
    return [int(match[1]) for match in found if match]


def _is_annotation(folder: Path) -> bool:
    return all(any((folder / name).is_dir() for name in names) for names in SETS.values()) and "AU" in folder.name


def _video_files(root: Path) -> dict[str, Path]:
    """Video files by name, at most two folders deep (batch1, batch2)."""
    below = subfolders(root)
    folders = [root, *below, *(child for folder in below for child in subfolders(folder))]
    files = (path for folder in folders for path in sorted(folder.iterdir()))
    return {path.stem: path for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
