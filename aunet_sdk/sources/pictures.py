"""Decodes one picture file, through Pillow (and pillow-heif)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util.interrupt import raise_if_interrupted
from ..errors import InvalidInput
from .base import MAX_SIDE_PX, as_bgr
from .display import EXIF_ORIENTATIONS, UPRIGHT
from .kinds import IMAGE_SUFFIXES, PictureFormat, is_animation, picture_format

MIN_SIDE_PX = 16
"""a picture file with a shorter side holds no face that a finder could see: it is a thumbnail, an icon or damaged"""
_EXIF_ORIENTATION = 274
# Pillow warns of damage in what is not the picture. Once for all: filters that come and go are no matter for threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
_TIFF_SUBFILE, _TIFF_REDUCED = 254, 1


def decode_picture(file: Path) -> np.ndarray:
    """See `images.read_image`; the file exists and may be read."""
    with file.open("rb") as stream:
        found = picture_format(stream)
        if found is None:
            raise InvalidInput(f"image: {file} is no picture that can be read ({', '.join(IMAGE_SUFFIXES)})")
        if is_animation(stream, found):
            way = "convert it to a video" if found == "WEBP" else "read it as a video: VideoFile, Detector.detect_video"
            raise InvalidInput(f"image: {file} is an animation ({found}): expected one picture; {way}")
        try:
            pixels = _decode_heif(file, stream) if found == "HEIF" else _decode(file, stream, found)
        except InvalidInput:
            raise
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise a dozen kinds for damaged files
            raise InvalidInput(f"image: {file} is damaged or no picture that can be decoded: {error}") from error
    try:
        return as_bgr(pixels)
    except InvalidInput as error:
        raise InvalidInput(f"image: {file}: {error}") from None


def _decode(file: Path, stream: BinaryIO, found: PictureFormat) -> np.ndarray:
    """Grey (H, W), uint8 or uint16 (others are refused later), or BGR (H, W, 3) uint8; upright."""
    import cv2
    from PIL import Image

    Image.init()
    if found not in Image.OPEN:
        raise InvalidInput(f"image: {file}: this Pillow cannot read {found}; pip install --upgrade pillow")
    # The format's own reader: `Image.open` tries many others, some of which start programs, and warns of 90 Mpx.
    with Image.OPEN[found][0](stream, str(file)) as picture:
        _check_size(file, *picture.size)
        if found == "TIFF" and (pages := _pages(picture)) > 1:
            raise InvalidInput(
                f"image: {file} has {pages} pages: expected one picture; save each page as a file of its own"
            )
        picture.load()
        orientation = EXIF_ORIENTATIONS.get(_orientation_number(picture), UPRIGHT)
        mode = picture.mode
        pixels: np.ndarray
        image: Image.Image = picture
        if mode.startswith("I;16"):
            pixels = np.asarray(picture).astype(np.uint16)
        elif mode in ("I", "F"):
            pixels = np.asarray(picture)
            if found in ("PNG", "PPM"):  # 16 bits that Pillow keeps in 32
                pixels = pixels.clip(0, 65535).astype(np.uint16)
        elif mode in ("1", "L", "LA", "La"):
            pixels = np.asarray(picture.convert("L"))
        else:
            if mode == "P" and "transparency" in picture.info:
                image = image.convert("RGBA")
            rgb = np.asarray(image if mode == "RGB" else image.convert("RGB"))
            pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return orientation.apply(pixels)


def _decode_heif(file: Path, stream: BinaryIO) -> np.ndarray:
    """BGR (H, W, 3) or BGRA (H, W, 4) uint8; libheif turns it upright itself."""
    try:
        import pillow_heif
    except ImportError as error:
        raise_if_interrupted(error)
        raise InvalidInput(
            f"image: {file} is a HEIF picture (HEIC), which needs a decoder: pip install 'aunet_sdk[heif]' "
            "(pillow-heif), or convert it to JPEG"
        ) from error
    heif = pillow_heif.open_heif(stream, convert_hdr_to_8bit=True, bgr_mode=True)
    picture = heif[heif.primary_index]
    _check_size(file, *picture.size)
    return np.asarray(picture)


def _check_size(file: Path, width: int, height: int) -> None:
    if min(height, width) < MIN_SIDE_PX:
        raise InvalidInput(
            f"image: {file} is too small to hold a face: expected sides from {MIN_SIDE_PX} px on, got {width}x{height}"
        )
    if max(height, width) > MAX_SIDE_PX:
        raise InvalidInput(f"image: {file}: expected sides of up to {MAX_SIDE_PX} px, got {width}x{height}")


def _pages(picture: Any) -> int:
    """Pages of a TIFF file, smaller copies of another page not counted."""
    pages = 0
    for number in range(picture.n_frames):
        picture.seek(number)
        pages += not picture.tag_v2.get(_TIFF_SUBFILE, 0) & _TIFF_REDUCED
    picture.seek(0)
    return pages


def _orientation_number(picture: Any) -> int:
    """EXIF's number, 1 where it is missing or the data are damaged (a TIFF file is upright when it is loaded)."""
    try:
        number = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damage in what is not the picture
        return 1
    return number if isinstance(number, int) else 1
