"""Pictures: one file, or a folder of them in natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .._util.files import existing_file
from ..errors import InvalidInput
from .base import Frame, SourceBase
from .kinds import IMAGE_SUFFIXES
from .pictures import MIN_SIDE_PX, decode_picture

__all__ = ["IMAGE_SUFFIXES", "MIN_SIDE_PX", "ImageFile", "ImageFolder", "natural_key", "read_image"]


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The picture in a file as uint8 (H, W, 3) BGR: JPEG, PNG, BMP, WebP, TIFF, PPM, GIF, AVIF, and HEIC with the extra
    `heif`. The content decides, not the suffix.

    Grey, transparent, palette, CMYK and 16-bit pictures are converted as `as_bgr` says; the orientation in the EXIF
    data is applied. Raises InvalidInput where the file is missing, empty, not permitted, no picture, damaged or cut
    short, an animation or several pages, or a picture too small to hold a face: a side below 16 px. (An array may have
    any size: a crop of your own has no face then, and `Detector` says so.)
    """
    file = existing_file(path, "image")
    try:
        return decode_picture(file)
    except OSError as error:
        raise InvalidInput(f"image: {file} cannot be read: {error.strerror or error}") from error


class ImageFile(SourceBase):
    """A source of one frame, at time 0. Iterating over it raises InvalidInput, see `read_image`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = existing_file(path, "image")
        self.frame_count = 1

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(read_image(self.path), 0.0, 0, self.path)


class ImageFolder(SourceBase):
    """The pictures of a folder (not of its subfolders) in natural order: img2.png before img10.png.

    Args:
        path: the folder.
        fps: frames per second where the pictures are the frames of a video; None: unrelated pictures, all at time 0
            (for `Detector.detect`, one by one).
        on_error: called with the path and the error of a picture that cannot be used (see `read_image`), which is
            then passed over (its index is not used again); None: the error is raised.

    Raises InvalidInput where the folder is missing or has no picture.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float | None = None,
        on_error: Callable[[Path, InvalidInput], None] | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InvalidInput(f"image folder: {self.path} is no folder")
        if fps is not None and not 0 < fps < 1e6:
            raise InvalidInput(f"fps: expected a number over 0, got {fps!r}")
        files = (file for file in self.path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        self.paths: tuple[Path, ...] = tuple(sorted(files, key=lambda file: natural_key(file.name)))
        if not self.paths:
            raise InvalidInput(f"image folder: {self.path} has no picture ({', '.join(IMAGE_SUFFIXES)})")
        self.frame_count = len(self.paths)
        self._fps = fps
        self._on_error = on_error

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self.paths):
            try:
                image = read_image(file)
            except InvalidInput as error:
                if self._on_error is None:
                    raise
                self._on_error(file, error)
                continue
            yield Frame(image, index / self._fps if self._fps else 0.0, index, file)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key with numbers in a name compared as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts if part)
