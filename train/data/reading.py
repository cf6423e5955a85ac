"""Reading what the data sets consist of: pictures, videos, tables of numbers, lists of frames.

Every error is a DatasetError that names the file, and the line where there is one.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from train.data.sequences import DatasetError


class FrameReader(Protocol):
    """Reads the frames of one video by position; can be pickled."""

    def read(self, index: int) -> NDArray[np.uint8]:
        """Frame at `index` (0 .. n_frames - 1), uint8 (H, W, 3) BGR; DatasetError where it cannot be decoded."""
        ...

    def place(self, index: int) -> str:
        """Where that frame is stored, for messages."""
        ...


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
    once with `prepare`). A frame has its number in the file, also behind one that cannot be decoded: no seeking by time
    stamps, which is off by frames in many files."""

    def __init__(self, path: Path, positions: NDArray[np.int64]) -> None:
        self.path, self.positions = path, positions
        self._decoder: Any = None
        self._frames: Any = None
        self._converter: Any = None
        self._held: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "positions": self.positions} | dict.fromkeys(
            ("_decoder", "_frames", "_converter", "_held")
        )

    def place(self, index: int) -> str:
        return f"{self.path} frame {self.positions[index]}"

    def read(self, index: int) -> NDArray[np.uint8]:
        wanted = int(self.positions[index])
        if self._decoder is None or self._held is None or wanted < self._held.index:
            self._begin()
        while self._held is not None and self._held.index < wanted:
            last = self._held.index
            self._held = next(self._frames, None)
            if self._held is None:
                raise DatasetError(f"{self.place(index)}: the video ends or breaks at frame {last + 1}")
        if self._held is None or self._held.index > wanted:
            raise DatasetError(f"{self.place(index)}: cannot be decoded; the video ends or is damaged there")
        return np.asarray(self._converter.convert(self._held.picture), np.uint8)

    def _begin(self) -> None:
        from aunet_sdk.sources.decoder import Converter

        self.close()
        self._decoder = _open_video(self.path)
        self._frames = iter(self._decoder)
        self._converter = Converter(self._decoder.stream.sample_aspect_ratio)
        self._held = next(self._frames, None)

    def close(self) -> None:
        """Give the file back."""
        if self._decoder is not None:
            self._frames.close()
            self._decoder.close()
        self._decoder = self._frames = self._converter = self._held = None


def video_facts(path: Path) -> tuple[int, float]:
    """Declared frames and frames per second of a video file; DatasetError where it cannot be opened."""
    decoder = _open_video(path)
    try:
        return decoder.frame_count or 0, (decoder.fps if 1 <= decoder.fps <= 1000 else 25.0)
    finally:
        decoder.close()


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


def decode_bytes(content: bytes, place: str) -> NDArray[np.uint8]:
    """A JPEG or PNG as uint8 (H, W, 3) BGR; DatasetError naming its place where it is cut short or no picture."""
    import cv2

    whole = content.startswith(b"\x89PNG") or (content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9"))
    image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if whole else None
    if image is None:
        raise DatasetError(f"{place}: the picture is cut short, or is none; make it again")
    return np.asarray(image, np.uint8)


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


def _open_video(path: Path) -> Any:
    from aunet_sdk.errors import InvalidInput
    from aunet_sdk.sources.decoder import Decoder

    try:
        return Decoder(path)
    except (InvalidInput, OSError) as error:
        raise DatasetError(
            f"{path}: no video that can be opened; it is missing or damaged, copy it again ({error})"
        ) from error
