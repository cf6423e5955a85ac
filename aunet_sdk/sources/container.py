"""A look at a video file's container: is it whole, and how long does it claim to be.

Only the outermost boxes are read: ISO base media (MP4, MOV; ISO/IEC 14496-12) and RIFF (AVI). For others nothing is
known.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")


@dataclass(frozen=True)
class Container:
    """What the container says of itself."""

    missing_bytes: int = 0
    """bytes that the container declares beyond the end of the file"""
    duration_s: float | None = None
    """the playing time that it declares, edits applied; None where not known"""


def inspect(path: Path) -> Container:
    """Read the outer structure of a video file; an empty answer for a container that is not known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) == 12 and head[:4] == b"RIFF":
            return Container(missing_bytes=max(0, 8 + struct.unpack("<I", head[4:8])[0] - size))
        if len(head) < 8 or head[4:8] not in _ISO_FIRST:
            return Container()
        return _inspect_iso(file, size)


def _inspect_iso(file: BinaryIO, size: int) -> Container:
    duration_s = None
    offset = 0
    while offset + 8 <= size:
        kind, start, end = _box(file, offset, size)
        if end <= offset:
            break
        if end > size:
            return Container(end - size, duration_s)
        if kind == b"moov":
            duration_s = _movie_duration_s(file, start, end)
        offset = end
    return Container(0, duration_s)


def _box(file: BinaryIO, offset: int, size: int) -> tuple[bytes, int, int]:
    """Type, start of the content, end of a box; the end is the offset where the box is not to be read."""
    file.seek(offset)
    header = file.read(16)
    if len(header) < 8:
        return b"", offset, offset
    length, kind = struct.unpack(">I4s", header[:8])
    start = offset + 8
    if length == 1 and len(header) == 16:
        length, start = struct.unpack(">Q", header[8:])[0], offset + 16
    elif length == 0:
        length = size - offset
    return kind, start, offset + length if offset + length >= start else offset


def _movie_duration_s(file: BinaryIO, start: int, end: int) -> float | None:
    while start + 8 <= end:
        kind, content, stop = _box(file, start, end)
        if stop <= start:
            return None
        if kind == b"mvhd":
            file.seek(content)
            data = file.read(32)
            layout, at = (">IQ", 20) if data[:1] == b"\x01" else (">II", 12)
            if len(data) < at + struct.calcsize(layout):
                return None
            timescale, duration = struct.unpack_from(layout, data, at)
            unknown = duration in (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
            return None if unknown or not timescale else duration / timescale
        start = stop
    return None
