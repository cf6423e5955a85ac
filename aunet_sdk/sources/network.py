"""Streams through PyAV: RTSP, HTTP (MJPEG, or any container), and video on standard input."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .._util.pyav import lenient
from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput, SourceLost
from .capture import HANG_MARGIN_S, Pulse, Shot
from .decoder import DEFAULT_FPS, Converter
from .options import SourceOptions

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Address", "StreamCapture", "http_address", "rtsp_address", "stdin_address"]

NO_PICTURE_S = 20.0
"""so long packets may come without one picture that can be decoded: the longest usual distance of two key frames"""
NO_TIMES = ("mpjpeg", "mjpeg", "jpeg_pipe", "image2pipe")
"""what FFmpeg makes times up for, 25 frames a second"""
ENDS_WITHIN_S = 1.0
"""a file behind a URL that ends so much before its declared end broke off"""
NOT_VIDEO = ("tty", "lrc", "srt", "webvtt", "ass", "concat", "concatf", "imf")
_PROBE = {"analyzeduration": "1000000"}
"""FFmpeg looks at a stream for so many microseconds at most before it hands it over, with what it has read"""


@dataclass(frozen=True)
class Address:
    """What to open, and how."""

    url: str
    name: str
    """for messages, without user and password"""
    options: Mapping[str, str] = field(default_factory=dict)
    """for FFmpeg"""
    always_live: bool = False
    """whether its end is always a loss; otherwise what declares a duration has an end"""
    on_demand: bool = False
    """whether it may rest for any time and then has its own times, as stdin"""


def rtsp_address(url: str) -> Address:
    """RTSP over TCP: over UDP, which many firewalls stop, a lost packet is a damaged picture."""
    protocols = "rtsp,rtsps,rtp,srtp,tcp,tls,udp,http,https,tls,crypto"
    options = {**_PROBE, "rtsp_transport": "tcp", "protocol_whitelist": protocols}
    return Address(with_quoted_user(url), without_credentials(url), options, always_live=True)


def http_address(url: str) -> Address:
    """MJPEG, a container without an end, HLS, or a file behind a URL. None of them may lead to a file of ours."""
    options = {**_PROBE, "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,data"}
    return Address(with_quoted_user(url), without_credentials(url), options)


def stdin_address(fps: float | None) -> Address:
    """Any container that FFmpeg can read without seeking, or raw MJPEG, H.264, H.265, YUV4MPEG."""
    options = {"protocol_whitelist": "pipe,fd"}
    if fps is not None:
        options["framerate"] = f"{fps:g}"
    return Address("pipe:0", "stdin", options, on_demand=True)


class StreamCapture:
    """One connection to a stream, see `Capture`. Raises SourceLost where it cannot be opened, InvalidInput where it has
    no video that can be decoded."""

    def __init__(self, address: Address, options: SourceOptions) -> None:
        self._address = address
        self._read_s = None if address.on_demand else options.read_timeout_s
        self._container = _open(address, options)
        try:
            self._stream = _video(address, self._container)
        except BaseException:
            self._container.close()
            raise
        self._stream.codec_context.thread_type = "SLICE"  # with a thread for every picture each comes that much later
        duration = self._container.duration
        self._duration_s = None if duration is None or address.always_live else duration / 1e6
        self.ends = self._duration_s is not None or address.on_demand
        self._has_times = self.ends or self._container.format.name not in NO_TIMES
        rate = self._stream.average_rate
        self.fps: float | None = float(rate) if rate and 0 < rate < 1000 and self._has_times else None
        self._convert = Converter(self._stream.sample_aspect_ratio)

    def shots(self, pulse: Pulse) -> Iterator[Shot]:
        last_s = 0.0
        for shot in self._shots(pulse):
            last_s = shot.stream_s if shot.stream_s is not None else last_s
            yield shot
        if self._duration_s is not None and last_s + ENDS_WITHIN_S < self._duration_s + self._start_s:
            raise SourceLost(f"{self._address.name} broke off at {last_s:.1f} s of {self._duration_s:.1f} s")

    def _shots(self, pulse: Pulse) -> Iterator[Shot]:
        import av

        packets = self._packets(pulse)
        seen_key = False
        picture_s = time.monotonic()
        count = 0
        for packet in packets:
            now_s = time.monotonic()
            seen_key = seen_key or packet.is_keyframe or not packet.size
            if seen_key:
                try:
                    pictures = self._stream.decode(packet if packet.size else None)
                except av.FFmpegError:
                    pulse.drop("damaged")
                    pictures = []
                for picture in pictures:
                    picture_s = now_s
                    if picture.is_corrupt:
                        pulse.drop("damaged")
                        continue
                    yield Shot(partial(self._image, picture), now_s, self._time_s(picture, count))
                    count += 1
            if now_s - picture_s > NO_PICTURE_S and self._read_s is not None:
                raise SourceLost(
                    f"{self._address.name} sends data, but for {NO_PICTURE_S:g} s no picture that can be decoded; "
                    "let it send key frames more often"
                )

    def _packets(self, pulse: Pulse) -> Iterator[Any]:
        """Of the video; all others are read, too, so that a stream of sound alone is noticed."""
        import av

        limit_s = self._read_s
        silence = f"nothing came for {limit_s} s"
        packets = self._container.demux()
        since_s = time.monotonic()
        while True:
            pulse.expect(None if limit_s is None else limit_s + HANG_MARGIN_S)
            try:
                packet = next(packets, None)
            except av.error.ExitError:
                reason = silence
                break
            except av.FFmpegError as error:
                reason = _reason(error)
                break
            if packet is None:
                return
            if limit_s is not None and time.monotonic() - since_s >= limit_s:
                reason = silence  # when a read is broken off, FFmpeg may give the beginning of a packet as one
                break
            if packet.stream_index == self._stream.index:
                yield packet
                since_s = time.monotonic()
        raise SourceLost(f"{self._address.name} was lost: {reason}")

    def _time_s(self, picture: VideoFrame, count: int) -> float | None:
        if not self._has_times:
            return None
        ticks = picture.pts if picture.pts is not None else picture.dts
        if ticks is not None and self._stream.time_base is not None:
            return float(ticks * self._stream.time_base)
        if not self.ends:
            return None
        return count / (self.fps or DEFAULT_FPS)

    @property
    def _start_s(self) -> float:
        return (self._container.start_time or 0) / 1e6

    def _image(self, picture: VideoFrame) -> np.ndarray:
        try:
            return self._convert.convert(picture)
        except AUNetError:
            raise
        except Exception as error:
            raise InvalidInput(f"{self._address.name}: a picture cannot be converted: {error}") from None

    def close(self) -> None:
        self._container.close()


def _open(address: Address, options: SourceOptions) -> InputContainer:
    import av

    limits = None if address.on_demand else (options.open_timeout_s, options.read_timeout_s)
    try:
        return av.open(address.url, "r", container_options=dict(address.options), timeout=limits, **lenient())
    except av.error.ExitError:
        reason = f"no answer within {options.open_timeout_s:g} s"
    except (av.FFmpegError, UnicodeError, ValueError) as error:
        reason = _reason(error)
    # Outside of the handler: the error of FFmpeg has the whole URL in it.
    raise SourceLost(f"{address.name} cannot be opened: {reason}")


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "user or password is not accepted, or is missing (401)"
    if isinstance(error, av.error.HTTPForbiddenError):
        return "the server forbids it (403)"
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server has nothing under this path (404)"
    if isinstance(error, av.error.InvalidDataError):
        return "what comes is no video, or broken"
    return without_credentials(str(getattr(error, "strerror", None) or type(error).__name__))


def _video(address: Address, container: InputContainer) -> VideoStream:
    best: Any = container.streams.best("video")
    if container.format.name in NOT_VIDEO:
        raise InvalidInput(f"{address.name}: expected video, got text or a list ({container.format.name})")
    if best is None:
        raise InvalidInput(f"{address.name}: expected video, got a stream without pictures")
    if best.codec_context is None:
        raise InvalidInput(f"{address.name}: PyAV has no decoder for its video; let it send H.264 or MJPEG")
    return best


def with_quoted_user(url: str) -> str:
    """The URL with what users write raw in a user or password (`/`, `#`, `@`, `?`) in the form of RFC 3986; what is
    quoted already stays."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2]
    if "@" in authority:
        user, _, host = authority.rpartition("@")
        tail = rest[len(authority) :]
        if "@" in tail and not re.fullmatch(r"[^:]*(:[0-9]*)?|\[[^\]]*\](:[0-9]*)?", host):
            user, _, tail = rest.rpartition("@")
            host = ""
    elif "@" in rest and ":" in authority and not authority.startswith("[") and not port.isdecimal():
        user, _, tail = rest.rpartition("@")
        host = ""
    else:
        return url
    quoted = ":".join(quote(part, safe="%!$&'()*+,;=~") for part in user.split(":", 1))
    return f"{scheme}://{quoted}@{host}{tail}"
