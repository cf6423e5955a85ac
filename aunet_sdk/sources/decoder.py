"""Video files through PyAV: pictures with their numbers and their container's times, and what is wrong with a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.pyav import lenient
from ..errors import InvalidInput
from .display import UPRIGHT, Orientation, orientation_of, square_size
from .key_frames import packets_before
from .ledger import Ledger
from .reach import Reach

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_READ_ERRORS = 64
"""so many errors of the container in a row are its end"""
MAX_THREADS = 16
DEFAULT_FPS = 25.0
NOT_VIDEO = ("tty", "lrc", "srt", "webvtt", "ass", "image2", "hls", "concat", "concatf", "dash", "imf")
"""what FFmpeg also opens: text as a picture of a terminal, lists that name other files"""


@dataclass(frozen=True)
class Decoded:
    """One picture, not yet converted."""

    index: int
    timestamp_s: float
    picture: VideoFrame


def open_video(path: Path, threads: bool = True) -> tuple[InputContainer, VideoStream]:
    """The container of a file and its best video stream. Raises InvalidInput where it has none that can be decoded.

    Args:
        path: an existing file of any name: it is handed to FFmpeg as one, never as a protocol, a list or a pattern.
        threads: whether several pictures may be decoded at the same time. Errors then come later than their packets.
    """
    import av

    try:
        # The only protocol is that of files: no list or playlist inside a file leads to the network.
        options = {"protocol_whitelist": "file"}
        container = av.open(f"file:{path}", "r", container_options=options, **lenient())
    except (av.FFmpegError, UnicodeError) as error:
        raise InvalidInput(
            f"video: {path} is no video that can be opened; it is something else, or damaged, or its index at the end "
            f"is cut off ({getattr(error, 'strerror', None) or error})"
        ) from error
    try:
        stream = _best_stream(path, container)
        context = stream.codec_context
        context.thread_type = "AUTO" if threads else "SLICE"
    except BaseException:
        container.close()
        raise
    return container, stream


def _best_stream(path: Path, container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    name = container.format.name
    if name in NOT_VIDEO:
        raise InvalidInput(f"video: {path} is no video that can be opened: it is text or a list ({name})")
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    best: Any = container.streams.best("video")
    if best is None or best.disposition & covers:
        what = "no video stream, or its index at the end is cut off" if best is None else "a cover picture alone"
        raise InvalidInput(f"video: {path} is no video that can be opened: it has {what}; give a file with pictures")
    if best.codec_context is None:
        raise InvalidInput(
            f"video: {path} is no video that can be opened: PyAV has no decoder for it; convert it, "
            "for instance to H.264"
        )
    return best


class Decoder:
    """Reads one file once, from the beginning to the end.

    Iterating gives the pictures in the order of their times; afterwards `complaints` says what is wrong with the file.
    """

    def __init__(self, path: Path, begin: int = 0) -> None:
        self.path = path
        self.container, self.stream = open_video(path)
        self._passed_over = packets_before(path, begin)
        self.fps = _rate(self.stream)
        self.frame_count = _frame_count(self.container, self.stream, self.fps)
        self.ledger = Ledger()
        self._reach = Reach(self.container, self.stream)
        self._offset_s = _offset_s(self.container, self.stream)
        self._tick: Fraction = self.stream.time_base or Fraction(1, 1)
        self._last_s = -math.inf
        self._given = 0
        self._last_index = -1
        self._seen_key = False

    def __iter__(self) -> Iterator[Decoded]:
        yield from self._number(self._decode(self.container, self.stream, self._reach))
        if self.ledger.waits and self.ledger.last_key is not None:
            yield from self._number(self._decode_tail(self.ledger.last_key))
        self.ledger.ended()

    def close(self) -> None:
        """Give back the file; may be called twice."""
        self.container.close()

    def _number(self, pictures: Iterator[VideoFrame]) -> Iterator[Decoded]:
        for picture in pictures:
            key = _key(picture)
            index = self.ledger.received(key, picture.key_frame, picture.is_corrupt)
            if index is None:
                continue
            gap = self.ledger.gap
            time_s = -math.inf if key is None else key * self._tick.numerator / self._tick.denominator - self._offset_s
            if not time_s > self._last_s:
                time_s = (self._last_s + (1 + gap) / self.fps) if self._given else gap / self.fps
            self._last_s = time_s
            self._given += 1
            self._last_index = index
            yield Decoded(index, time_s, picture)

    def _decode(self, container: InputContainer, stream: VideoStream, reach: Reach) -> Iterator[VideoFrame]:
        """All pictures of a file; the ledger hears of every packet."""
        import av

        vp8 = stream.codec_context.name in ("vp8", "libvpx")
        for packet in _packets(container):
            reach.see(packet)
            if packet.stream_index != stream.index or not packet.size:
                continue
            self._seen_key = self._seen_key or packet.is_keyframe
            hidden = packet.is_discard or (vp8 and not memoryview(packet)[0] & 0x10)
            if self._passed_over:
                self._passed_over -= 1
                if not hidden:
                    self.ledger.passed()
                continue
            if self._seen_key and not hidden:  # before a recording's first key frame nothing can be decoded
                self.ledger.sent(_key(packet), packet.is_corrupt)
            try:
                pictures = stream.decode(packet)
            except av.FFmpegError:
                if self._seen_key:
                    self.ledger.failed()
                continue
            yield from pictures
        yield from self._drain(stream)

    def _drain(self, stream: VideoStream) -> list[VideoFrame]:
        import av

        try:
            return stream.decode(None)
        except av.FFmpegError:
            self.ledger.failed()
            return []

    def _decode_tail(self, after: int) -> Iterator[VideoFrame]:
        """The pictures behind `after` once more, one at a time. Where an error comes while a decoder with threads is
        emptied, PyAV does not hand out what is left in it."""
        import av

        container, stream = open_video(self.path, threads=False)
        with container:
            try:
                container.seek(after, stream=stream)
            except av.FFmpegError:
                return
            for packet in _packets(container, stream):
                try:
                    pictures = stream.decode(packet if packet.size else None)
                except av.FFmpegError:
                    self.ledger.failed()
                    continue
                yield from (picture for picture in pictures if (_key(picture) or 0) > after)

    def complaints(self) -> list[str]:
        """What is wrong with the file, after the last picture; empty where it is whole."""
        ledger = self.ledger
        found = []
        if ledger.lost == 1:
            found.append(f"frame {ledger.first_lost} could not be decoded")
        elif ledger.lost:
            found.append(f"{ledger.lost} frames could not be decoded, the first of them frame {ledger.first_lost}")
        declared = self.stream.frames
        if not 0 < declared <= ledger.count:  # all are there, whatever the container says of its duration
            last_s = self._last_s if self._given else 0.0
            if reason := self._reach.shortfall(last_s, self._offset_s, self._last_index):
                found.append(reason)
        return found


def _packets(container: InputContainer, *streams: Any) -> Iterator[Any]:
    """All packets, over errors on the way where the container can be read on."""
    import av

    errors = 0
    while errors < MAX_READ_ERRORS:
        try:
            for packet in container.demux(*streams):
                errors = 0 if packet.size else errors
                yield packet
            return
        except av.FFmpegError:
            errors += 1


def _key(thing: Any) -> int | None:
    key: int | None = thing.pts if thing.pts is not None else thing.dts
    return key


def _rate(stream: VideoStream) -> float:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate < 10_000:
            return float(rate)
    return DEFAULT_FPS


def _frame_count(container: InputContainer, stream: VideoStream, fps: float) -> int | None:
    """As declared, or the duration times the rate; None where neither is known."""
    if stream.frames > 0:
        return stream.frames
    if container.duration is not None:
        count = int(container.duration / 1e6 * fps + 0.5)
        return count if 0 < count < 1e9 else None
    return None


def _offset_s(container: InputContainer, stream: VideoStream) -> float:
    """What is taken off the container's times. MPEG transport and program streams and their kin begin at any time of a
    clock that runs on, AVI behind the decoder's delay; all others mean their times."""
    from av.format import Flags

    runs_on: Any = Flags.ts_discont.value
    if container.format.flags & runs_on and container.start_time is not None:
        return container.start_time / 1e6
    if container.format.name == "avi" and stream.start_time is not None:
        return float(stream.start_time * (stream.time_base or 0))
    return 0.0


_TINY_PX = 16


class Converter:
    """Makes BGR arrays of decoded pictures, as they are to be shown: upright and with square pixels."""

    def __init__(self, aspect: Fraction | None) -> None:
        from av.sidedata.sidedata import Type
        from av.video.reformatter import Interpolation, VideoReformatter

        self._reformatter = VideoReformatter()
        self._bicubic = Interpolation.BICUBIC
        self._matrix_type: Any = Type.DISPLAYMATRIX
        self._aspect = aspect
        self._shrinker = VideoReformatter()
        self._rotation: int | None = None
        self._orientation = UPRIGHT

    def convert(self, picture: VideoFrame) -> np.ndarray:
        """uint8 (H, W, 3) BGR, in memory of its own. Raises InvalidInput for a display matrix that is slanted."""
        width, height = square_size(picture.width, picture.height, self._aspect)
        bgr = self._reformatter.reformat(
            picture, width=width, height=height, format="bgr24", interpolation=self._bicubic, threads=1
        )
        return self._oriented(picture).apply(bgr.to_ndarray())

    def _oriented(self, picture: VideoFrame) -> Orientation:
        if picture.rotation != self._rotation or picture.key_frame:
            self._rotation = picture.rotation
            # A picture whose side data were looked at is freed by the garbage collector alone (PyAV 18), which knows
            # nothing of its size; so a tiny copy is looked at, where the matrix may have changed.
            tiny = self._shrinker.reformat(picture, width=_TINY_PX, height=_TINY_PX)
            data: Any = tiny.side_data.get(self._matrix_type)
            matrix = None if data is None else np.frombuffer(data, np.int32).tolist()
            self._orientation = UPRIGHT if matrix is None else orientation_of(matrix)
        return self._orientation
