"""Where frames come from: video files, pictures, folders, cameras."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import SupportsIndex

from ..errors import InvalidInput
from .base import Frame, Source, as_bgr
from .camera import Camera
from .images import IMAGE_SUFFIXES, ImageFile, ImageFolder, read_image
from .kinds import source_kind
from .video import VideoFile

__all__ = [
    "FOLDER_FPS",
    "IMAGE_SUFFIXES",
    "Camera",
    "Frame",
    "ImageFile",
    "ImageFolder",
    "Source",
    "VideoFile",
    "as_bgr",
    "open_path",
    "open_source",
    "read_image",
    "source_kind",
]


FOLDER_FPS = 25.0
"""frames per second of a folder that is taken for a video"""


def open_source(
    source: SupportsIndex | str | os.PathLike[str], *, as_video: bool = True, fps: float = FOLDER_FPS
) -> Camera | ImageFile | ImageFolder | VideoFile:
    """The source for a camera (its number, also as a string, or /dev/videoN) or a path, see `open_path`. A stream has
    times, so a folder's pictures are the frames of a video unless `as_video` is False.

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
    return open_path(path, as_video=as_video, fps=fps)


def open_path(
    path: str | os.PathLike[str],
    *,
    as_video: bool = False,
    fps: float = FOLDER_FPS,
    on_error: Callable[[Path, InvalidInput], None] | None = None,
) -> ImageFile | ImageFolder | VideoFile:
    """The source for a file or a folder, as its content asks (`source_kind`): a picture, a video, or a folder of
    pictures.

    Args:
        path: an existing file or folder.
        as_video: whether a folder's pictures are the frames of a video, `fps` a second; False: unrelated pictures, all
            at time 0.
        on_error: for a folder, see `ImageFolder`.

    Raises InvalidInput where the path cannot be used, see the classes.
    """
    kind = source_kind(path)
    if kind == "folder":
        return ImageFolder(path, fps=fps if as_video else None, on_error=on_error)
    return ImageFile(path) if kind == "image" else VideoFile(path)
