"""Where frames come from: cameras, streams, video files, pictures, folders."""

from __future__ import annotations

from .base import Frame, Source, as_bgr
from .camera import Camera
from .connection import SourceState
from .images import IMAGE_SUFFIXES, ImageFile, ImageFolder, read_image
from .kinds import source_kind
from .live import LiveSource
from .options import SourceOptions
from .paced import PacedSource
from .uri import FOLDER_FPS, open_path, open_source
from .video import VideoFile

__all__ = [
    "FOLDER_FPS",
    "IMAGE_SUFFIXES",
    "Camera",
    "Frame",
    "ImageFile",
    "ImageFolder",
    "LiveSource",
    "PacedSource",
    "Source",
    "SourceOptions",
    "SourceState",
    "VideoFile",
    "as_bgr",
    "open_path",
    "open_source",
    "read_image",
    "source_kind",
]
