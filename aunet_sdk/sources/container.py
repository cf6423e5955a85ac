"""A look at a video file's container: is it whole, and how long does it claim to be.

Only the outer structure is read: the boxes of ISO base media (MP4, MOV; ISO/IEC 14496-12), the head of RIFF (AVI) and
of ASF (WMV), the elements of Matroska down to the blocks in a cluster (MKV, WebM; RFC 9559), the tags of FLV. For
others nothing is known: MPEG transport and program streams, for instance, declare neither a size nor a length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
_EBML, _SEGMENT, _CLUSTER, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1549A966
_TRACKS, _TRACK = 0x1654AE6B, 0xAE
_TIMESTAMP_SCALE, _DURATION = 0x2AD7B1, 0x4489
# SeekHead, Info, Tracks, Cues, Chapters, Tags, Attachments; Void, CRC-32; in a cluster Timestamp, SilentTracks,
# Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock
_MATROSKA_SKIPPED = {0x114D9B74, _INFO, _TRACKS, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469, 0xEC, 0xBF}
_MATROSKA_SKIPPED |= {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}
_FLV_AUDIO, _FLV_VIDEO, _FLV_SCRIPT = 8, 9, 18
_ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_ASF_PROPERTIES = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
_EDIT_S = 0.005
"""durations of a track before and after its edits that differ by less are equal: they are rounded"""


@dataclass(frozen=True)
class Container:
    """What the container says of itself."""

    missing_bytes: int = 0
    """bytes that the container declares beyond the end of the file"""
    duration_s: float | None = None
    """the playing time that it declares, edits applied, over all its tracks; None where not known"""
    damaged_at: int | None = None
    """offset in bytes of the first place where its structure is broken; looked for in Matroska and FLV alone"""
    video_s: float | None = None
    """the playing time that it declares for the video itself; None where not known, or where edits hide some of it"""
    counted: bool = False
    """it counts its frames; elsewhere a decoder takes the playing time times the frame rate for their number"""


def inspect(path: Path) -> Container:
    """Read the outer structure of a video file; an empty answer for a container that is not known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if len(head) >= 12 and head[:4] == b"RIFF":
            return Container(missing_bytes=max(0, 8 + struct.unpack("<I", head[4:8])[0] - size), counted=True)
        if head[:4] == _EBML.to_bytes(4, "big"):
            return _inspect_matroska(file, size)
        if head[:3] == b"FLV" and len(head) >= 9:
            return _inspect_flv(file, size, head)
        if head == _ASF_HEADER:
            return _inspect_asf(file, size)
        if len(head) >= 8 and head[4:8] in _ISO_FIRST:
            return _inspect_iso(file, size)
        return Container()


def _inspect_asf(file: BinaryIO, size: int) -> Container:
    """The file's own size, from its properties; none in a broadcast."""
    properties = file.read(4096)
    at = properties.find(_ASF_PROPERTIES)
    if at < 0 or len(properties) < at + 92:
        return Container()
    (declared,), (flags,) = struct.unpack_from("<Q", properties, at + 40), struct.unpack_from("<I", properties, at + 88)
    return Container(missing_bytes=0 if flags & 1 else max(0, declared - size))


def _inspect_flv(file: BinaryIO, size: int, head: bytes) -> Container:
    declared_size, duration_s = 0.0, None
    offset = int.from_bytes(head[5:9], "big") + 4
    while offset < size:
        file.seek(offset)
        tag = file.read(11)
        kind, length = tag[0] & 0x1F, int.from_bytes(tag[1:4], "big")
        if kind not in (_FLV_AUDIO, _FLV_VIDEO, _FLV_SCRIPT):
            return Container(0, duration_s, offset)
        end = offset + 11 + length + 4
        if len(tag) < 11 or end > size:
            return Container(max(end, int(declared_size)) - size, duration_s)
        if kind == _FLV_SCRIPT and duration_s is None:
            script = file.read(length)
            duration_s, declared_size = _script_number(script, b"duration"), _script_number(script, b"filesize") or 0.0
        offset = end
    alone = not head[4] & 4
    return Container(max(0, int(declared_size) - size), duration_s, None, duration_s if alone else None)


def _script_number(script: bytes, name: bytes) -> float | None:
    """A number over 0 of an FLV file's onMetaData (AMF 0); None where there is none."""
    key = len(name).to_bytes(2, "big") + name + b"\0"
    at = script.find(key) + len(key)
    if at < len(key) or len(script) < at + 8:
        return None
    (value,) = struct.unpack_from(">d", script, at)
    return value if 0 < value < 1e15 else None


def _inspect_iso(file: BinaryIO, size: int) -> Container:
    duration_s = video_s = None
    offset = 0
    while offset + 8 <= size:
        kind, start, end = _box(file, offset, size)
        if end <= offset:
            break
        if end > size:
            return Container(end - size, duration_s, None, video_s, counted=True)
        if kind == b"moov":
            duration_s, video_s = _movie_durations_s(file, start, end)
        offset = end
    return Container(0, duration_s, None, video_s, counted=True)


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


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and end of each box in a box's content."""
    while start + 8 <= end:
        kind, content, stop = _box(file, start, end)
        if stop <= start or stop > end:
            return
        yield kind, content, stop
        start = stop


def _movie_durations_s(file: BinaryIO, start: int, end: int) -> tuple[float | None, float | None]:
    """The playing time of the movie, and that of its video track, if it has one alone that no edit shortens."""
    timescale, duration = 0, None
    tracks = []
    for kind, content, stop in _boxes(file, start, end):
        if kind == b"mvhd":
            timescale, duration = _timescale_and_duration(file, content)
        elif kind == b"trak":
            tracks.append(_video_track(file, content, stop))
    if not timescale or duration is None:
        return None, None
    videos = [track for track in tracks if track is not None]
    if len(videos) != 1 or videos[0][0] is None or videos[0][1] is None:
        return duration / timescale, None
    track_s, media_s = videos[0][0] / timescale, videos[0][1]
    return duration / timescale, min(track_s, media_s) if track_s > media_s - _EDIT_S else None


def _video_track(file: BinaryIO, start: int, end: int) -> tuple[int | None, float | None] | None:
    """Duration in the movie's time scale with edits, and that of the media in seconds; None for other tracks."""
    track = media_s = None
    is_video = False
    for kind, content, stop in _boxes(file, start, end):
        if kind == b"tkhd":
            track = _unsigned(file, content, 20, 28)
        elif kind == b"mdia":
            for inner, at, _ in _boxes(file, content, stop):
                if inner == b"mdhd":
                    timescale, duration = _timescale_and_duration(file, at)
                    media_s = duration / timescale if timescale and duration is not None else None
                elif inner == b"hdlr":
                    file.seek(at + 8)
                    is_video = file.read(4) == b"vide"
    return (track, media_s) if is_video else None


def _timescale_and_duration(file: BinaryIO, content: int) -> tuple[int, int | None]:
    """Of an mvhd or mdhd box; the duration is None where it is not known."""
    file.seek(content)
    wide = file.read(1) == b"\x01"
    file.seek(content + (20 if wide else 12))
    timescale = int.from_bytes(file.read(4), "big")
    return timescale, _unsigned(file, content, 16, 24)


def _unsigned(file: BinaryIO, content: int, narrow_at: int, wide_at: int) -> int | None:
    """A duration in a box of version 0 (32 bits) or 1 (64 bits); None where it says that it is not known."""
    file.seek(content)
    wide = file.read(1) == b"\x01"
    file.seek(content + (wide_at if wide else narrow_at))
    data = file.read(8 if wide else 4)
    value = int.from_bytes(data, "big")
    return None if value == 0 or data in (b"\xff" * 4, b"\xff" * 8) else value


def _inspect_matroska(file: BinaryIO, size: int) -> Container:
    duration_s = None
    offset = end = tracks = 0
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
        elif kind == _TRACKS:
            tracks = sum(kind == _TRACK for kind, _, _ in _elements(file, start, stop))
        offset = stop
    return Container(0, duration_s, None, duration_s if tracks == 1 else None)


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


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Id, start of the content and end of each EBML element in an element's content."""
    while start < end and (element := _element(file, start)) is not None:
        kind, content, stop = element
        if stop is None or stop > end:
            return
        yield kind, content, stop
        start = stop


def _segment_duration_s(file: BinaryIO, start: int, end: int) -> float | None:
    scale_ns, ticks = 1_000_000, 0.0
    for kind, content, stop in _elements(file, start, end):
        file.seek(content)
        if kind == _TIMESTAMP_SCALE:
            scale_ns = int.from_bytes(file.read(min(8, stop - content)), "big")
        elif kind == _DURATION and stop - content in (4, 8):
            (ticks,) = struct.unpack(">f" if stop - content == 4 else ">d", file.read(stop - content))
    duration_s = 1e-9 * scale_ns * ticks
    return duration_s if 0 < duration_s < 1e9 else None
