"""Which encoder writes which kind of video file, and the file itself: PyAV, that is FFmpeg's libraries."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailable
from .base import lost

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FORMATS", "EncodedFile", "Format"]

KEY_FRAME_EVERY = 60
"""frames from key frame to key frame at most, so that players can seek"""
MAX_RATE_HZ = 1000
"""the highest rate that an encoder gets: VP9 refuses 90,000, which some files declare. Frames have their own times"""


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders. `options` let it hand on every frame at once: what was written survives a kill."""

    name: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    encoders: tuple[Encoder, ...]
    """by preference; the first one that this FFmpeg has"""
    ticks_hz: int | None
    """unit of the times in the file; None: the frame rate, which is then constant"""
    options: dict[str, str] = field(default_factory=dict)


_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}  # of 2 (best) to 31, in FFmpeg's unit
_H264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
_VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "32", "b": "0"}
_MPEG = (
    Encoder("libx264", "yuv420p", _H264),  # of the wheels on PyPI; x264 is GPL, docs/video.md
    Encoder("libopenh264", "yuv420p"),
    Encoder("mpeg4", "yuv420p", _QUALITY),
)
# In fragments of a second while it is written, so that a killed process leaves a file that plays; a plain MP4 in the
# end. 60,000 Hz holds the periods of 24, 25, 30, 29.97, 50, 59.94 and 60 fps exactly, and MPEG-4 allows no more.
_MP4 = Format(_MPEG, 60_000, {"movflags": "hybrid_fragmented", "frag_duration": "1000000"})
_CLUSTERS = {"cluster_time_limit": "1000"}
FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MP4,
    ".mkv": Format(_MPEG, 1000, _CLUSTERS),
    ".avi": Format((Encoder("mjpeg", "yuvj420p", _QUALITY),), None),
    ".webm": Format(
        (
            Encoder("libvpx-vp9", "yuv420p", {**_VPX, "row-mt": "1"}),
            Encoder("libvpx", "yuv420p", {**_VPX, "crf": "10", "b": "2000000"}),
        ),
        1000,
        _CLUSTERS,
    ),
}
MUXERS = {".m4v": "mp4", ".mkv": "matroska"}
"""where FFmpeg would take another container by the suffix, or none"""


def find_encoder(kind: Format, path: Path) -> Encoder:
    """The encoder for a file. Raises BackendUnavailable where this FFmpeg has none."""
    import av

    for encoder in kind.encoders:
        if encoder.name in av.codecs_available:
            return encoder
    names = ", ".join(encoder.name for encoder in kind.encoders)
    raise BackendUnavailable(
        f"annotated video: expected an FFmpeg with {names} for {path.name}, PyAV {av.__version__} has none of them; "
        "try .avi or another wheel of `av`"
    )


class EncodedFile:
    """A video file of frames (height, width, 3), with times in ticks of its own. Raises OutputLost where the disk or
    the encoder takes no more."""

    def __init__(self, path: Path, fps: Fraction, width: int, height: int) -> None:
        import av

        kind = FORMATS[path.suffix.lower()]
        encoder = find_encoder(kind, path)
        self.path = path
        self.codec = encoder.name
        self._even = (width + width % 2, height + height % 2)
        fps = min(fps, Fraction(MAX_RATE_HZ))
        self._tick = Fraction(1, kind.ticks_hz) if kind.ticks_hz else 1 / fps
        self._duration = max(1, round(1 / fps / self._tick))
        try:
            # "file:" keeps a colon or a comma in a relative name from being read as a protocol
            self._container: Any = av.open(
                f"file:{path}",
                "w",
                format=MUXERS.get(path.suffix.lower()),
                options={"flush_packets": "1", **kind.options},
            )
            self._stream: Any = self._container.add_stream(
                encoder.name, rate=fps, options={"g": str(KEY_FRAME_EVERY), **encoder.options}
            )
            context: Any = self._stream.codec_context
            context.width, context.height = self._even
            context.pix_fmt = encoder.pixels
            context.time_base = self._tick
            context.colorspace = 6  # BT.601, which the conversion uses; players take large pictures for BT.709
            context.color_range = 2 if encoder.pixels.startswith("yuvj") else 1
        except (OSError, av.error.FFmpegError) as error:
            raise lost("annotated video", path, error) from error

    def ticks(self, time_s: float) -> int:
        """The tick next to a time."""
        return round(time_s / self._tick)

    def append(self, image: np.ndarray, tick: int) -> None:
        """Writes one frame, uint8 (height, width, 3) BGR, C-contiguous, shown from `tick` on: growing."""
        import av

        width, height = self._even
        if image.shape[:2] != (height, width):  # the last row or column twice: half the pixels carry no colour
            import cv2

            below, right = height - image.shape[0], width - image.shape[1]
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.time_base, frame.pts, frame.duration = self._tick, tick, self._duration
        self._encode(frame)

    def close(self) -> None:
        """Writes what waits, and the index."""
        try:
            self._encode(None)
        finally:
            self._end()

    def abandon(self) -> None:
        """Closes the file after an error; what stands in it stays."""
        import av

        with suppress(OSError, av.error.FFmpegError):
            self._container.close()

    def _encode(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise lost("annotated video", self.path, error) from error

    def _end(self) -> None:
        import av

        try:
            self._container.close()
        except (OSError, av.error.FFmpegError) as error:
            raise lost("annotated video", self.path, error) from error
