"""Annotated pictures on disk: one video file, one image, or a folder of images."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from .._util.cv2 import quiet_cv2
from .._util.files import check_writable, name_for_cv2
from ..errors import AUNetError, BackendUnavailable, InvalidInput

__all__ = ["IMAGE_EXTENSIONS", "VIDEO_CODECS", "ImageSink", "VideoSink"]

# What the OpenCV wheels can encode everywhere, per container. VP8 in .webm plays in browsers and costs more time;
# MPEG-4 in .mp4 plays in players; the wheels have no free H.264 encoder.
VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_HOLD_S = 60.0
"""a picture stands still for so long at most; where times jump further, the video goes on at once"""

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

    The file has one constant rate. Where the frames of a source come at a variable one, give `write` their times: a
    picture is then repeated, or left out, so that one with the time t is shown at t. `frames` counts what the file has.

    Raises InvalidInput for an unknown extension, an unwritable path, one that is not UTF-8, a wrong frame rate;
    BackendUnavailable where this OpenCV cannot encode the format; AUNetError on `close` where the file has not become
    whole (a full disk). Where the block of a `with` fails, the file is ended as it is and not looked at.
    """

    def __init__(self, path: str | Path, fps: float, size: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self.fps = float(fps)
        self.frames = 0
        self._size = (0, 0)
        self._writer: Any = None
        self._last: np.ndarray | None = None
        self._origin_s = 0.0
        self._ended = False
        if self.path.suffix.lower() not in VIDEO_CODECS:
            raise InvalidInput(
                f"annotated video: expected a path that ends in {', '.join(VIDEO_CODECS)}, got {self.path.name!r}"
            )
        if not (0 < self.fps < 1e5):
            raise InvalidInput(f"annotated video: expected a frame rate above 0, got {fps}")
        self._name = name_for_cv2(self.path, "annotated video")
        check_writable(self.path, "annotated video")
        if size is not None:
            self._begin(int(size[0]), int(size[1]))

    def _begin(self, width: int, height: int) -> None:
        if min(width, height) < 2:
            raise InvalidInput(f"annotated video: expected frames of at least 2x2 px, got {width}x{height}")
        codec = VIDEO_CODECS[self.path.suffix.lower()]
        with quiet_cv2() as cv2:
            fourcc = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(self._name, fourcc, self.fps, (width, height))
            if not writer.isOpened():
                raise BackendUnavailable(
                    f"annotated video: OpenCV {cv2.__version__} cannot write {codec} of {width}x{height} px to "
                    f"{self.path}; try .avi"
                )
        self._writer = writer
        self._size = (width, height)

    def write(self, image: np.ndarray, timestamp_s: float | None = None) -> None:
        """Appends one frame: uint8 (H, W, 3) BGR, all of one size.

        timestamp_s: when it is to be shown, in seconds from the video's beginning, growing; it becomes frame
        round(timestamp_s * fps) of the file. The picture before is repeated up to there (the first one itself where it
        comes late); where that place is taken, this one is left out. A step of more than 60 s is none: the picture
        follows at once and later times count from it. None: the next frame of the file.

        Raises InvalidInput; AUNetError after `close`.
        """
        if self._ended:
            raise AUNetError("annotated video: this VideoSink is closed; make a new one")
        if timestamp_s is not None and not math.isfinite(timestamp_s):
            raise InvalidInput(f"annotated video: expected a finite time in seconds, got {timestamp_s}")
        if self._writer is None:
            self._begin(image.shape[1], image.shape[0])
        expected = (self._size[1], self._size[0], 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise InvalidInput(f"annotated video: expected uint8 frames {expected}, got {image.dtype} {image.shape}")
        image = np.ascontiguousarray(image)
        place = self.frames
        if timestamp_s is not None:
            place = round((timestamp_s - self._origin_s) * self.fps)
            if place - self.frames > MAX_HOLD_S * self.fps:
                place, self._origin_s = self.frames, timestamp_s - self.frames / self.fps
        while self.frames < place:
            self._append(image if self._last is None else self._last)
        if self.frames == place:
            self._append(image)
        self._last = image.copy() if timestamp_s is not None else None

    def _append(self, image: np.ndarray) -> None:
        self._writer.write(image)
        self.frames += 1

    def close(self) -> None:
        """Ends the file so that players can read it, and looks whether they can. Safe to call twice.

        Raises AUNetError where the file has fewer frames than were written.
        """
        if self._release() and self.frames:
            self._check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()  # the error of the block is the one to tell

    def _release(self) -> bool:
        """Ends the file; whether there was one to end."""
        writer, self._writer, self._last, self._ended = self._writer, None, None, True
        if writer is not None:
            writer.release()
        return writer is not None

    def _check(self) -> None:
        """OpenCV does not tell that it could not write: what is there is opened once more and its frames are counted,
        which Matroska declares by their time alone, so nearly."""
        with quiet_cv2() as cv2:
            capture = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG)
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0.0
            capture.release()
        if count < min(self.frames, max(1.0, 0.99 * self.frames - 1)):
            raise AUNetError(
                f"annotated video: expected {self.frames} frames in {self.path}, found {max(0, round(count))}; "
                "is the disk full?"
            )


class ImageSink(_Sink):
    """Writes annotated images: to one file, or, for a folder of images, into a folder under the images' own names.

    A folder that is made here goes again on `close` where no image was written.

    Raises InvalidInput for an unknown extension or an unwritable path.
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

    def close(self) -> None:
        """Takes away the folder that was made where it is empty. Safe to call twice."""
        with suppress(OSError):
            while self._made and not self.frames:
                self._made.pop(0).rmdir()
