"""From what a user writes (a number, a path, a URL) to a source."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import SupportsIndex

from .._util.uris import without_credentials
from ..errors import InvalidInput
from .camera import Camera
from .connection import StateListener
from .gstreamer import csi_pipeline, open_pipeline
from .images import ImageFile, ImageFolder
from .kinds import source_kind
from .live import LiveSource
from .network import Address, StreamCapture, http_address, rtsp_address, stdin_address
from .options import Policy, SourceOptions
from .paced import PacedSource, wants_changes
from .video import VideoFile

__all__ = ["FOLDER_FPS", "SCHEMES", "open_path", "open_source"]

AnySource = LiveSource | PacedSource | ImageFile | ImageFolder | VideoFile
FOLDER_FPS = 25.0
"""frames per second of a folder that is taken for a video"""
SCHEMES = ("rtsp://", "rtsps://", "http://", "https://", "v4l2://", "csi://", "gst:", "file://")


def open_source(
    source: SupportsIndex | str | os.PathLike[str],
    options: SourceOptions | None = None,
    *,
    as_video: bool = True,
    fps: float = FOLDER_FPS,
    on_state: StateListener | None = None,
) -> AnySource:
    """The source for a camera, a stream or a path. docs/sources.md has an example of each.

    Args:
        source: a camera's number (also as a string), its device file in /dev, `v4l2://` and either, `csi://` and a
            number (Jetson), `rtsp://`, `rtsps://`, `http://`, `https://`, `gst:` and a GStreamer pipeline, `file://`,
            `-` for stdin, or a path, see `open_path`. What exists as a path is one.
        options: None: the defaults.
        as_video: a stream has times, so a folder's pictures are the frames of a video; False: they are unrelated.
        fps: of a folder as a video, where the options do not say.
        on_state: called with the state and the reason whenever either of a LiveSource changes, see there; a path has
            no states, and it is not called.

    Returns:
        a LiveSource for cameras and streams; for a path the class that `open_path` says, in a PacedSource where the
        options change anything.

    Raises InvalidInput for what is none of these; InvalidInput, BackendUnavailable or SourceLost, see the classes. No
    user, password or token of a URL is in any message.
    """
    chosen = options if options is not None else SourceOptions()
    if not isinstance(chosen, SourceOptions):
        raise InvalidInput(f"options: expected SourceOptions, got {type(options).__name__}")
    if isinstance(source, SupportsIndex):
        return Camera(source, chosen, on_state)
    name = os.fspath(source)
    if name == "-":
        return _stream(stdin_address(chosen.fps), chosen, on_state)
    exists = os.path.lexists(name)
    if name.startswith("/dev/") or (re.fullmatch("[0-9]+", name) and not exists):
        return _camera(name, chosen, on_state)
    live = None if exists else _by_scheme(name, chosen, on_state)
    if live is not None:
        return live
    path = open_path(_file_of(name), as_video=as_video, fps=chosen.fps or fps)
    if isinstance(path, ImageFolder) and chosen.fps is not None:
        chosen = replace(chosen, fps=None)  # that is its rate; none is left out
    return PacedSource(path, chosen) if wants_changes(chosen) else path


def _by_scheme(name: str, options: SourceOptions, on_state: StateListener | None) -> LiveSource | None:
    """A camera or a stream, None for what is a path. Raises InvalidInput for a scheme that nobody knows."""
    if name.startswith("gst:"):
        return _pipeline(name[4:], options, on_state)
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}", name)  # a Path has one slash left
    if found is None:
        return None
    scheme, rest = found[1].lower(), name[found.end() :]
    if scheme == "file":
        return None
    url, what = f"{scheme}://{rest}", without_credentials(f"{scheme}://{rest}")
    if scheme == "v4l2":
        return _camera(f"/{rest}" if rest.startswith("dev/") else rest, options, on_state)
    if scheme == "csi":
        if not re.fullmatch("[0-9]{1,3}", rest):
            raise InvalidInput(f"source: expected csi:// and the camera's number, such as csi://0, got {what}")
        return _pipeline(csi_pipeline(int(rest), options), options, on_state)
    if scheme not in ("rtsp", "rtsps", "http", "https"):
        raise InvalidInput(f"source: expected a path, a camera's number, or one of {', '.join(SCHEMES)}, got {what}")
    if not rest or rest.startswith(("/", "?", "#")):
        raise InvalidInput(f"source: expected a host after {scheme}://, got {what}")
    address = rtsp_address(url) if scheme.startswith("rtsp") else http_address(url)
    return _stream(address, options, on_state)


def _camera(name: str, options: SourceOptions, on_state: StateListener | None) -> Camera:
    number = re.fullmatch("(?:/dev/video)?([0-9]+)", name)
    if number is None and not os.path.lexists(name):
        raise InvalidInput(f"camera: {name} does not exist; expected a number, or a device file such as /dev/video0")
    return Camera(int(number[1]) if number else name, options, on_state)


def _stream(address: Address, options: SourceOptions, on_state: StateListener | None) -> LiveSource:
    policy: Policy = "all" if address.on_demand else "latest"
    return LiveSource(lambda: StreamCapture(address, options), address.name, options, policy, on_state)


def _pipeline(pipeline: str, options: SourceOptions, on_state: StateListener | None) -> LiveSource:
    if not pipeline.strip():
        raise InvalidInput("source: expected gst: and a pipeline, such as gst:videotestsrc, got none")
    every = options.policy == "all"
    name = f"gst:{without_credentials(pipeline)}"
    return LiveSource(lambda: open_pipeline(pipeline, options, every), name, options, on_state=on_state)


def _file_of(name: str) -> str:
    """The path in a file URL (RFC 8089); anything else as it is."""
    found = re.match("file:(?://(?:localhost)?)?(?=/)", name, re.IGNORECASE)
    if found is None or os.path.lexists(name):
        return name
    from urllib.request import url2pathname

    return url2pathname(name[found.end() :])


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
