"""Small video files that PyAV writes, and damage to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from aunet_sdk import SourceLost
from aunet_sdk.sources import Frame, VideoFile

os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 is talkative

COUNT = 40
SIZE = (64, 48)
CODECS = {
    "MJPG": ("mjpeg", "yuvj420p"),
    "mp4v": ("mpeg4", "yuv420p"),
    "mpg1": ("mpeg1video", "yuv420p"),
    "mpg2": ("mpeg2video", "yuv420p"),
    "VP80": ("libvpx", "yuv420p"),
    "VP90": ("libvpx-vp9", "yuv420p"),
    "AV01": ("libsvtav1", "yuv420p"),
    "FLV1": ("flv", "yuv420p"),
    "WMV2": ("wmv2", "yuv420p"),
    "H264": ("libx264", "yuv420p"),
    "HEVC": ("libx265", "yuv420p"),
    "FFV1": ("ffv1", "bgr0"),  # without loss
}


def noise(index: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Picture `index`, uint8 (H, W, 3) BGR: noise that moves; every picture differs from the others."""
    picture = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return np.roll(picture, index, 1)


def write(
    path: Path,
    code: str,
    count: int = COUNT,
    fps: float = 20.0,
    *,
    times_s: Sequence[float] | None = None,
    size: tuple[int, int] = SIZE,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    sound_s: tuple[float, float] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video.

    Args:
        times_s: of the pictures, where the rate is not constant; in whole milliseconds.
        sound_s: begin and end of a sound track (silence).
        matrix: display matrix, nine numbers.
        options, container: of the encoder and of the container.
    """
    codec, pixels = CODECS[code]
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(f"file:{path}", "w", container_options=container or {}) as file:
        video: Any = file.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pixels
        if aspect is not None:
            video.sample_aspect_ratio = aspect
        if matrix is not None:
            video.set_display_matrix(matrix)
        if times_s is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        sound: Any = None
        if sound_s is not None:
            sound = file.add_stream("pcm_s16le" if path.suffix in (".mkv", ".mov", ".avi") else "aac", rate=8000)
            sound.layout = "mono"
        packets: list[tuple[float, Any]] = []
        try:
            for i in range(count):
                image = noise(i, size) if pictures is None else pictures[i]
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                frame.pts = i if times_s is None else round(1000 * times_s[i])
                frame.time_base = 1 / rate if times_s is None else Fraction(1, 1000)
                packets += [(float(p.dts * p.time_base), p) for p in video.encode(frame)]
            packets += [(float(p.dts * p.time_base), p) for p in video.encode()]
        except av.FFmpegError:
            pytest.skip(f"this PyAV does not encode {codec} at {fps} fps")
        if sound_s is not None:
            for start in range(round(8000 * sound_s[0]), round(8000 * sound_s[1]), 1024):
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.int16 if sound.codec.name.startswith("pcm") else np.float32),
                    format="s16" if sound.codec.name.startswith("pcm") else "fltp",
                    layout="mono",
                )
                silence.sample_rate, silence.pts, silence.time_base = 8000, start, Fraction(1, 8000)
                packets += [(float(p.dts * p.time_base), p) for p in sound.encode(silence)]
            packets += [(float(p.dts * p.time_base), p) for p in sound.encode()]
        for _, packet in sorted(packets, key=lambda item: item[0]):
            file.mux(packet)
    return path


def cut(path: Path, size: int) -> Path:
    """Keeps the first `size` bytes."""
    path.write_bytes(path.read_bytes()[:size])
    return path


def break_pictures(path: Path, *which: int) -> Path:
    """Overwrites these frames of a Motion JPEG file, not the containers' own heads."""
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == COUNT
    for index in which:
        end = data.index(b"\xff\xd9", starts[index]) + 2
        data[starts[index] : end] = bytes(end - starts[index])
    path.write_bytes(data)
    return path


def read(path: Path) -> tuple[list[Frame], SourceLost | None]:
    """The frames of a file, and the error at its end."""
    frames = []
    try:
        for frame in VideoFile(path):
            frames.append(frame)
    except SourceLost as error:
        return frames, error
    return frames, None


def read_broken(path: Path, words: str) -> list[Frame]:
    """The frames of a file that is told to be broken, in these words (a regular expression)."""
    frames = []
    with pytest.raises(SourceLost, match=words):
        for frame in VideoFile(path):
            frames.append(frame)
    return frames
