"""A look at a video file's container: is it whole, and how long does it claim to be.

Only the outermost structure is read: the boxes of ISO base media (MP4, MOV; ISO/IEC 14496-12), the head of RIFF (AVI),
the elements of Matroska down to the blocks in a cluster (MKV, WebM; RFC 9559). For others nothing is known.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
_EBML, _SEGMENT, _CLUSTER, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1549A966
_TIMESTAMP_SCALE, _DURATION = 0x2AD7B1, 0x4489
# SeekHead, Info, Tracks, Cues, Chapters, Tags, Attachments; Void, CRC-32; in a cluster Timestamp, SilentTracks,
# Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock
_MATROSKA_SKIPPED = {0x114D9B74, _INFO, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469, 0xEC, 0xBF}
_MATROSKA_SKIPPED |= {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}


@dataclass(frozen=True)
class Container:
    """What the container says of itself."""

    missing_bytes: int = 0
    """bytes that the container declares beyond the end of the file"""
    duration_s: float | None = None
    """the playing time that it declares, edits applied; None where not known"""
    damaged_at: int | None = None
    """offset in bytes of the first place where its structure is broken; looked for in Matroska alone"""


def inspect(path: Path) -> Container:
    """Read the outer structure of a video file; an empty answer for a container that is not known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) == 12 and head[:4] == b"RIFF":
            return Container(missing_bytes=max(0, 8 + struct.unpack("<I", head[4:8])[0] - size))
        if head[:4] == _EBML.to_bytes(4, "big"):
            return _inspect_matroska(file, size)
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


def _inspect_matroska(file: BinaryIO, size: int) -> Container:
    duration_s = None
    offset = end = 0
    sized = False
    element = _element(file, 0)
    while element is not None:  # over the heads before the segment
        kind, start, stop = element
        if kind == _SEGMENT:
            offset, end, sized = start, size if stop is None else stop, stop is not None
            break
        element = _element(file, stop) if stop is not None and stop < size else None
    if end > size:
        return Container(missing_bytes=end - size)
    cluster_end = end
    while offset < end:
        element = _element(file, offset)
        if element is None:
            return Container(0, duration_s, offset)
        kind, start, stop = element
        if offset >= cluster_end:
            cluster_end = end
        if kind == _CLUSTER and (stop is None or stop <= end):  # entered, not skipped: its children follow
            offset, cluster_end = start, end if stop is None else stop
            continue
        if kind in {_CLUSTER, *_MATROSKA_SKIPPED} and stop is not None and stop > end and not sized:
            return Container(stop - size, duration_s)  # a recording that was broken off
        if kind not in _MATROSKA_SKIPPED or stop is None or stop > cluster_end:
            return Container(0, duration_s, offset)
        if kind == _INFO:
            duration_s = _segment_duration_s(file, start, stop)
        offset = stop
    return Container(0, duration_s)


def _element(file: BinaryIO, offset: int) -> tuple[int, int, int | None] | None:
    """Id, start of the content, end of an EBML element; end None: not declared. None where there is no element."""
    file.seek(offset)
    head = file.read(12)
    id_length = 9 - head[0].bit_length() if head else 9
    if id_length > 4 or len(head) <= id_length:
        return None
    length = 9 - head[id_length].bit_length()
    start = id_length + length
    if length > 8 or len(head) < start:
        return None
    mask = (1 << 7 * length) - 1
    content = int.from_bytes(head[id_length:start], "big") & mask
    kind = int.from_bytes(head[:id_length], "big")
    return kind, offset + start, None if content == mask else offset + start + content


def _segment_duration_s(file: BinaryIO, start: int, end: int) -> float | None:
    scale_ns, ticks = 1_000_000, 0.0
    while start < end and (element := _element(file, start)) is not None:
        kind, content, stop = element
        if stop is None or stop > end:
            break
        file.seek(content)
        if kind == _TIMESTAMP_SCALE:
            scale_ns = int.from_bytes(file.read(min(8, stop - content)), "big")
        elif kind == _DURATION and stop - content in (4, 8):
            (ticks,) = struct.unpack(">f" if stop - content == 4 else ">d", file.read(stop - content))
        start = stop
    duration_s = 1e-9 * scale_ns * ticks
    return duration_s if 0 < duration_s < 1e9 else None
