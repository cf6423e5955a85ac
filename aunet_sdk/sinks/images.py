"""Annotated pictures as files of their own: one image, or a folder of images."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.cv2 import quiet_cv2
from .._util.files import check_writable
from ..errors import InvalidInput
from .base import Sink, lost

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["IMAGE_EXTENSIONS", "ImageSink"]

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class ImageSink(Sink):
    """Writes annotated images: to one file, or, for a folder of images, into a folder under the images' own names.

    A folder that is made here is removed by `close` where no image was written.

    Raises InvalidInput for an unknown extension, an unwritable path, and a name that leads out of the folder (`..`, an
    absolute path, a symbolic link); OutputLost where an image cannot be written (a full disk).
    """

    def __init__(self, path: str | Path, folder: bool = False) -> None:
        self.path = Path(path)
        self.folder = folder
        self.frames = 0
        self._made: list[Path] = []
        if folder:
            self._made = [place for place in (self.path, *self.path.parents) if not place.exists()]
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidInput(
                    f"annotated images: cannot make the folder {self.path}: {error.strerror or error}"
                ) from error
        else:
            if self.path.suffix.lower() not in IMAGE_EXTENSIONS:
                known = ", ".join(IMAGE_EXTENSIONS)
                raise InvalidInput(f"annotated image: expected a path that ends in {known}, got {self.path.name!r}")
            check_writable(self.path, "annotated image")

    def write(self, image: np.ndarray, file: str | None = None) -> None:
        """Writes one image, uint8 (H, W, 3) BGR. `file`: its path below the folder; a folder wants one."""
        target = self._target(file) if self.folder else self.path
        data = _encoded(image, target.suffix.lower())
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise lost("annotated image", target, error) from error
        self.frames += 1

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if image is not None and not result.provisional:
            self.write(image, file)

    def _target(self, file: str | None) -> Path:
        if not file or "\0" in file:
            raise InvalidInput(f"annotated images: expected the image's name, a path below {self.path}, got {file!r}")
        name = Path(file)
        inside = bool(name.name) and not name.anchor and ".." not in name.parts
        if inside and name.suffix.lower() not in IMAGE_EXTENSIONS:
            name = name.with_name(name.name + ".png")
        target = self.path / name
        if not inside or not target.resolve().is_relative_to(self.path.resolve()):  # a link may lead out of it
            raise InvalidInput(f"annotated images: expected a path below {self.path}, got {file!r}, which leaves it")
        return target

    def close(self) -> None:
        """Removes the folder that was made where it is empty. It may be called twice."""
        with suppress(OSError):
            while self._made and not self.frames:
                self._made.pop(0).rmdir()


def _encoded(image: np.ndarray, extension: str) -> bytes:
    """The image as the bytes of a file; OpenCV never touches the file, whose name may be any."""
    with quiet_cv2() as cv2:
        try:
            encoded, data = cv2.imencode(extension, image)
        except cv2.error:
            encoded = False
    if not encoded:
        got = f"{image.dtype} {image.shape}" if hasattr(image, "dtype") else type(image).__name__
        raise InvalidInput(f"annotated image: expected uint8 (H, W, 3), got {got}; it cannot be encoded as {extension}")
    return bytes(data)
