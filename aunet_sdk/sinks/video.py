"""Annotated pictures on disk: one video file, one image, or a folder of images."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ..errors import BackendUnavailable, InvalidInput
from ..sources.base import quiet_cv2

__all__ = ["IMAGE_EXTENSIONS", "VIDEO_CODECS", "ImageSink", "VideoSink"]

# What the OpenCV wheels can encode everywhere, per container. VP8 in .webm plays in browsers and costs more time;
# MPEG-4 in .mp4 plays in players; the wheels have no free H.264 encoder.
VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

Sink = TypeVar("Sink", bound="_Sink")


class _Sink:
    def close(self) -> None:
        """Nothing to close unless a child says so."""

    def __enter__(self: Sink) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoSink(_Sink):
    """Writes frames to a video file by OpenCV.

    path: .mp4, .m4v, .mov, .mkv (MPEG-4), .avi (Motion JPEG) or .webm (VP8: plays in browsers, slower to write).
    fps: frames per second, > 0. size: (width, height) px of every frame; None: that of the first one, with which the
    file is then begun. An existing file is replaced.
    Raises InvalidInput for an unknown extension, an unwritable path, a wrong frame rate; BackendUnavailable where this
    OpenCV cannot encode the format.
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self.fps = float(fps)
        self.frames = 0
        self._size = (0, 0)
        self._writer: Any = None
        if self.path.suffix.lower() not in VIDEO_CODECS:
            raise InvalidInput(
                f"annotated video: expected a path that ends in {', '.join(VIDEO_CODECS)}, got {self.path.name!r}"
            )
        if not (0 < self.fps < 1e5):
            raise InvalidInput(f"annotated video: expected a frame rate above 0, got {fps}")
        _check_writable(self.path)
        if size is not None:
            self._begin(int(size[0]), int(size[1]))

    def _begin(self, width: int, height: int) -> None:
        if min(width, height) < 2:
            raise InvalidInput(f"annotated video: expected frames of at least 2x2 px, got {width}x{height}")
        codec = VIDEO_CODECS[self.path.suffix.lower()]
        with quiet_cv2() as cv2:
            fourcc = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self.path), fourcc, self.fps, (width, height))
            if not writer.isOpened():
                raise BackendUnavailable(
                    f"annotated video: OpenCV {cv2.__version__} cannot write {codec} of {width}x{height} px to "
                    f"{self.path}; try .avi"
                )
        self._writer = writer
        self._size = (width, height)

    def write(self, image: np.ndarray) -> None:
        """Appends one frame: uint8 (H, W, 3) BGR, all of one size. Raises InvalidInput."""
        if self._writer is None:
            self._begin(image.shape[1], image.shape[0])
        expected = (self._size[1], self._size[0], 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise InvalidInput(f"annotated video: expected uint8 frames {expected}, got {image.dtype} {image.shape}")
        self._writer.write(np.ascontiguousarray(image))
        self.frames += 1

    def close(self) -> None:
        """Ends the file so that players can read it. Safe to call twice."""
        if self._writer is not None:
            self._writer.release()


class ImageSink(_Sink):
    """Writes annotated images: to one file, or, for a folder of images, into a folder under the images' own names.

    Raises InvalidInput for an unknown extension or an unwritable path.
    """

    def __init__(self, path: str | Path, folder: bool = False) -> None:
        self.path = Path(path)
        self.folder = folder
        self.frames = 0
        if folder:
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
            _check_writable(self.path)

    def write(self, image: np.ndarray, file: str | None = None) -> None:
        """Writes one image, uint8 (H, W, 3) BGR. `file`: its path below the folder; wanted for a folder."""
        import cv2

        target = self.path / file if self.folder and file else self.path
        if target.suffix.lower() not in IMAGE_EXTENSIONS:
            target = target.with_name(target.name + ".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        encoded, data = cv2.imencode(target.suffix.lower(), image)
        if not encoded:
            raise InvalidInput(f"annotated image: cannot encode {image.dtype} {image.shape} as {target.suffix}")
        target.write_bytes(data.tobytes())
        self.frames += 1


def _check_writable(path: Path) -> None:
    """OpenCV only says no; this says why. Leaves no file behind that was not there."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InvalidInput(f"cannot write to {path}: {error.strerror or error}; give another path") from error
    if not existed:
        path.unlink()
