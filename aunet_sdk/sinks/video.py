"""An annotated video: pictures with their own times, in one file."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._util.files import check_writable
from ..errors import AUNetError, InvalidInput, OutputLost
from .base import Sink
from .encoding import FORMATS, EncodedFile, find_encoder

if TYPE_CHECKING:
    from ..results import FrameResult

__all__ = ["VideoSink"]

MAX_HOLD_S = 60.0
"""a picture stands still for so long at most; where times jump further, the video goes on at once"""


class VideoSink(Sink):
    """Writes frames to a video file by PyAV.

    path: .mp4, .m4v, .mov, .mkv (H.264 where FFmpeg has an encoder for it, else MPEG-4), .webm (VP9) or .avi (Motion
    JPEG). fps: frames per second, > 0. size: (width, height) px of every frame; None: that of the first one, with which
    the file is then begun. An odd side gets one pixel more, as its codec wants. An existing file is replaced.

    draw: whether `put` draws the result onto the picture; False: it takes pictures that have it already.

    Every picture is in the file once, with its own time; only .avi has one constant rate: a picture whose place is
    taken is left out there, and counted in `left_out`. `frames` counts what the file has. A process that is killed
    leaves a file that can be read, up to its last second.

    Raises InvalidInput for an unknown extension, an unwritable path, a wrong frame rate;
    BackendUnavailable where this FFmpeg cannot encode the format; OutputLost from `write` and `close` where the file
    takes no more (a full disk): what it has is kept, and the sink takes nothing more.
    """

    def __init__(
        self, path: str | Path, fps: float, size: tuple[int, int] | None = None, *, draw: bool = False
    ) -> None:
        self.path = Path(path)
        self.draw = draw
        self.fps = float(fps)
        self.frames = 0
        self.left_out = 0
        self._size = (0, 0)
        self._file: EncodedFile | None = None
        self._ended = False
        self._origin_s = 0.0
        self._last_s = -math.inf  # in the file
        self._last_tick = -1
        kind = FORMATS.get(self.path.suffix.lower())
        if kind is None:
            raise InvalidInput(
                f"annotated video: expected a path that ends in {', '.join(FORMATS)}, got {self.path.name!r}"
            )
        if not (0 < self.fps < 1e5):
            raise InvalidInput(f"annotated video: expected a frame rate above 0, got {fps}")
        self._constant = kind.ticks_hz is None
        self.codec = find_encoder(kind, self.path).name
        check_writable(self.path, "annotated video")
        if size is not None:
            self._begin(int(size[0]), int(size[1]))

    def _begin(self, width: int, height: int) -> EncodedFile:
        if min(width, height) < 2:
            raise InvalidInput(f"annotated video: expected frames of at least 2x2 px, got {width}x{height}")
        rate = Fraction(self.fps).limit_denominator(1001)  # 30000/1001 too
        self._file = EncodedFile(self.path, max(rate, Fraction(1, 1001)), width, height)
        self._size = (width, height)
        return self._file

    def write(self, image: np.ndarray, timestamp_s: float | None = None) -> None:
        """Appends one frame: uint8 (H, W, 3) BGR, all of one size.

        timestamp_s: when it is to be shown, in seconds from the video's beginning. The first picture stands from the
        beginning on, also where its time is later; where its time is below 0, or above 60 s, the video begins with it.
        A time that does not grow, or grows by more than 60 s, is a jump: the picture follows after 1 / fps, and later
        times count from it. None: 1 / fps after the frame before.

        Raises InvalidInput, OutputLost; AUNetError after `close`.
        """
        if self._ended:
            raise AUNetError("annotated video: this VideoSink is closed; make a new one")
        if timestamp_s is not None and not math.isfinite(timestamp_s):
            raise InvalidInput(f"annotated video: expected a finite time in seconds, got {timestamp_s}")
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InvalidInput(f"annotated video: expected uint8 frames {self._shape()}, got {got}")
        file = self._file or self._begin(image.shape[1], image.shape[0])
        if image.shape != self._shape():
            raise InvalidInput(f"annotated video: expected uint8 frames {self._shape()}, got {image.shape}")
        self._last_s = self._place(timestamp_s)
        tick = file.ticks(self._last_s)
        if tick <= self._last_tick:
            if self._constant:
                self.left_out += 1
                return
            tick = self._last_tick + 1
        self._last_tick = tick
        try:
            file.append(np.ascontiguousarray(image), tick)
        except OutputLost:
            self.abandon()
            raise
        self.frames += 1

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if image is not None and not result.provisional:
            self.write(result.plot(image) if self.draw else image, result.timestamp_s)

    def _shape(self) -> tuple[int | str, ...]:
        return (self._size[1], self._size[0], 3) if self._file is not None else ("H", "W", 3)

    def _place(self, timestamp_s: float | None) -> float:
        """The picture's time in the file, in seconds."""
        first = self._last_tick < 0
        following_s = 0.0 if first else self._last_s + 1 / self.fps
        if timestamp_s is None:
            return following_s
        place_s = timestamp_s - self._origin_s
        if first:
            self._origin_s = 0.0 if 0 <= timestamp_s <= MAX_HOLD_S else timestamp_s
            return 0.0
        if not self._last_s < place_s <= self._last_s + MAX_HOLD_S:
            self._origin_s = timestamp_s - following_s
            return following_s
        return place_s

    def close(self) -> None:
        """Ends the file so that players can read it. It may be called twice.

        Raises OutputLost where its end cannot be written.
        """
        file, self._file, self._ended = self._file, None, True
        if file is not None:
            file.close()

    def abandon(self) -> None:
        """Ends the file as well as that can be done after an error."""
        file, self._file, self._ended = self._file, None, True
        if file is not None:
            try:
                file.close()
            except OutputLost:
                file.abandon()
