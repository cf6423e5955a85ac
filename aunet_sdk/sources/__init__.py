"""Where frames come from: video files, pictures, folders, cameras."""

from __future__ import annotations

import os
from pathlib import Path

from .base import Frame, Source, as_bgr
from .camera import Camera
from .images import IMAGE_SUFFIXES, ImageFile, ImageFolder, read_image
from .video import VideoFile

__all__ = [
    "IMAGE_SUFFIXES",
    "Camera",
    "Frame",
    "ImageFile",
    "ImageFolder",
    "Source",
    "VideoFile",
    "as_bgr",
    "open_source",
    "read_image",
]


def open_source(source: int | str | os.PathLike[str]) -> Camera | ImageFile | ImageFolder | VideoFile:
    """The source for a camera's number, a folder of pictures, a picture (by its suffix) or a video file.

    Raises InvalidInput or SourceLost, see the classes.
    """
    if isinstance(source, int):
        return Camera(source)
    path = Path(source)
    if path.is_dir():
        return ImageFolder(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFile(path)
    return VideoFile(path)
