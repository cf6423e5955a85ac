"""Where frames come from: video files, pictures, folders, cameras."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import SupportsIndex

from ..errors import InvalidInput
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


FOLDER_FPS = 25.0
"""frames per second that `open_source` takes a folder's pictures for"""


def open_source(source: SupportsIndex | str | os.PathLike[str]) -> Camera | ImageFile | ImageFolder | VideoFile:
    """The source for a camera (its number, also as a string, or /dev/videoN), a folder of pictures, which are taken for
    the frames of a video at 25 fps, a picture (by its suffix) or a video file.

    Raises InvalidInput for a URL; InvalidInput or SourceLost, see the classes.
    """
    if isinstance(source, SupportsIndex):
        return Camera(source)
    path, name = Path(source), os.fspath(source)
    camera = re.fullmatch(r"(?:/dev/video)?([0-9]+)", name)
    if camera and (name.startswith("/dev/") or not path.exists()):
        return Camera(int(camera[1]))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", name) and not path.exists():  # a Path has one slash left
        raise InvalidInput(
            f"source: expected a path or a camera's number, got {name}; URLs are not supported yet: read the frames "
            "with cv2.VideoCapture and push() them"
        )
    if path.is_dir():
        return ImageFolder(path, fps=FOLDER_FPS)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFile(path)
    return VideoFile(path)
