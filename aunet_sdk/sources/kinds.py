"""What a path holds: its content decides, not its suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Literal

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif"),
)
"""the files of a folder that are taken for pictures"""

PictureFormat = Literal["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "HEIF"]

_RAW_JPEGS = (".mjpeg", ".mjpg")
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_SEQUENCES = {b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}


def source_kind(path: str | os.PathLike[str]) -> Literal["folder", "image", "video"]:
    """What to open an existing path as: a folder, one picture, or a video. GIF, PNG, AVIF and HEIF files with an
    animation are videos. A file of neither kind goes by its suffix, so that whoever opens it says what is wrong."""
    file = Path(path)
    named_image = file.suffix.lower() in IMAGE_SUFFIXES
    try:
        if file.is_dir():
            return "folder"
        if not file.is_file():  # a pipe, for instance, which nobody shall wait for
            return "image" if named_image else "video"
        with file.open("rb") as stream:
            found = picture_format(stream)
            if found is None:
                return "image" if named_image and not _is_known_video(stream) else "video"
            if found == "JPEG" and file.suffix.lower() in _RAW_JPEGS:
                return "video"  # one JPEG after the other: nothing else distinguishes it from a picture
            return "video" if found != "WEBP" and is_animation(stream, found) else "image"
    except OSError:
        return "image" if named_image else "video"


def picture_format(stream: BinaryIO) -> PictureFormat | None:
    """The format of a picture by its first bytes; None for anything else. The stream is back at its beginning."""
    head = _head(stream)
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        return "BMP"
    brands = _brands(head)
    if brands and brands[0] in _AVIF | _HEIF:
        return "AVIF" if _AVIF & set(brands) else "HEIF"
    return None


def is_animation(stream: BinaryIO, found: PictureFormat) -> bool:
    """Whether a picture file holds an animation. The stream is back at its beginning."""
    head = _head(stream)
    if found == "WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    if found in ("AVIF", "HEIF"):
        return _brands(head)[0] in _SEQUENCES
    if found == "PNG":
        return _has_chunk_before_data(stream, b"acTL")
    if found == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        try:
            return bool(GifImageFile(stream).is_animated)
        except Exception:  # its first picture is damaged: whoever reads it says so
            return False
        finally:
            stream.seek(0)
    return False


def _head(stream: BinaryIO) -> bytes:
    stream.seek(0)
    head = stream.read(256)
    stream.seek(0)
    return head


def _brands(head: bytes) -> list[bytes]:
    """Of a file in the ISO base media format: its major brand, and those that it is compatible with."""
    if head[4:8] != b"ftyp":
        return []
    box = head[: int.from_bytes(head[:4], "big")]
    return [box[8:12], *(box[i : i + 4] for i in range(16, len(box) - 3, 4))]


def _has_chunk_before_data(stream: BinaryIO, name: bytes) -> bool:
    """Whether a PNG file has this chunk before its first picture."""
    stream.seek(8)
    try:
        while len(head := stream.read(8)) == 8 and head[4:] != b"IDAT":
            if head[4:] == name:
                return True
            stream.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return False
    finally:
        stream.seek(0)


def _is_known_video(stream: BinaryIO) -> bool:
    """A video that goes by a picture's name."""
    head = _head(stream)
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or head.startswith((b"\x1a\x45\xdf\xa3", b"FLV", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"OggS", b"\0\0\1\xba"))
        or (head[:4] == b"RIFF" and head[8:11] == b"AVI")
        or (head[:1] == b"G" and head[188:189] == b"G")
    )
