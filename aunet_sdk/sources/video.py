"""Video files, with the container's own times, and an error where a file breaks off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, dropwhile

from .._util.files import existing_file
from ..errors import InvalidInput, SourceLost
from .base import Frame, SourceBase
from .decoder import Converter, Decoded, Decoder
from .prefetch import ReadAhead

READ_AHEAD_FRAMES = 4


class VideoFile(SourceBase):
    """The frames of a video file, through PyAV. May be iterated over more than once; each time it starts at the
    beginning.

    A frame is handed out as it is meant to be shown: turned and mirrored as its display matrix says, and with square
    pixels (the shorter side of a pixel is stretched). Its time is the one in the container; where that does not grow,
    the frame comes one nominal period (1 / fps) after the one before. MPEG transport and program streams and Ogg have
    no zero: theirs is where the file begins. Frames on the way that cannot be decoded are left out; they keep their
    index and their time, so that those of the others are right. Every image has memory of its own.

    Args:
        path: the file.
        read_ahead: how many frames are decoded ahead of the caller, in a thread that lives as long as the iteration;
            0: none, every frame is decoded when it is asked for.
        begin: index of the first frame that is wanted. What lies before the key frame in front of it is not decoded
            where the packets' times tell what that is, and indices and times are those of the whole file.

    Attributes:
        width, height: of the frames that are handed out, in pixels.
        fps: the nominal rate.
        frame_count: how many frames are declared; None where that is not known.

    Raises InvalidInput on construction where the file is missing, empty, not permitted or no video. While iterating it
    raises SourceLost **after** the last good frame where any frame before that could not be decoded (the message says
    how many), and where the file breaks off: its packets end before the index or the duration that the container
    declares, or some in the middle cannot be found. MPEG transport and program streams declare nothing: one that is
    cut short looks like a whole one. docs/video.md has the details.
    """

    def __init__(self, path: str | os.PathLike[str], read_ahead: int = READ_AHEAD_FRAMES, begin: int = 0) -> None:
        if isinstance(read_ahead, bool) or not isinstance(read_ahead, int) or read_ahead < 0:
            raise InvalidInput(f"read_ahead: expected a whole number of frames from 0 on, got {read_ahead!r}")
        if isinstance(begin, bool) or not isinstance(begin, int) or begin < 0:
            raise InvalidInput(f"begin: expected the index of a frame, got {begin!r}")
        self.read_ahead, self._begin = read_ahead, begin
        self.path = existing_file(path, "video")
        begun = _Pass(self.path, begin)
        self._begun: _Pass | None = begun
        self._decoder = begun.decoder
        self.width, self.height = begun.size
        self.fps = begun.decoder.fps
        self.frame_count: int | None = begun.decoder.frame_count

    def __iter__(self) -> Iterator[Frame]:
        begun = self._begun or _Pass(self.path, self._begin)
        self._begun = None
        self._decoder = begun.decoder
        frames = begun.frames()
        if not self.read_ahead:
            yield from frames
            return
        ahead = ReadAhead(frames, self.read_ahead)
        try:
            yield from ahead
        finally:
            ahead.close()

    @property
    def lost(self) -> int:
        """Frames of the last iteration that could not be decoded, as far as it has come."""
        return self._decoder.ledger.lost

    def close(self) -> None:
        if self._begun is not None:
            self._begun.decoder.close()
            self._begun = None


class _Pass:
    """One way through a file; its first picture is decoded already: it alone knows how it is to be shown."""

    def __init__(self, path: os.PathLike[str], begin: int) -> None:
        self.decoder = Decoder(existing_file(path, "video"), begin)
        try:
            self._convert = Converter(self.decoder.stream.sample_aspect_ratio).convert
            self._pictures = dropwhile(lambda decoded: decoded.index < begin, self.decoder)
            self._first = [
                Frame(self._convert(first.picture), first.timestamp_s, first.index)
                for first in [next(self._pictures, None)]
                if first is not None
            ]
        except BaseException:
            self.decoder.close()
            raise
        context = self.decoder.stream.codec_context
        self.size = self._first[0].image.shape[1::-1] if self._first else (context.width, context.height)

    def frames(self) -> Iterator[Frame]:
        """The frames, and then SourceLost where the file is not whole."""
        decoder = self.decoder
        count = 0
        try:
            for frame in chain(self._first, map(self._frame, self._pictures)):
                self._first = []
                yield frame
                count += 1
            complaints = decoder.complaints()
        finally:
            decoder.close()
        if complaints:
            declared = f" of {decoder.frame_count}" if decoder.frame_count else ""
            raise SourceLost(
                f"video: {decoder.path} is broken: {', and '.join(complaints)}; {count}{declared} frames were read"
            )

    def _frame(self, decoded: Decoded) -> Frame:
        return Frame(self._convert(decoded.picture), decoded.timestamp_s, decoded.index)
