"""Video files, with the container's own timestamps, and an error where a file breaks off."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from ..errors import InvalidInput, SourceLost
from .ahead import ReadAhead
from .base import Frame, SourceBase, existing_file, load_cv2, name_for_cv2, quiet_cv2
from .container import inspect

MAX_MISSING_FRACTION = 0.05
MAX_MISSING_FRAMES = 3
MAX_FAILED_READS = 256
"""so many reads that fail in a row are the end; at the end of a file one costs some microseconds"""
DEFAULT_FPS = 25.0
READ_AHEAD_FRAMES = 4


class VideoFile(SourceBase):
    """The frames of a video file, through OpenCV. May be iterated over more than once; each time it starts at the
    beginning.

    A frame's time is the one in the container as long as that grows from frame to frame; where it does not, the frame
    comes one nominal period (1 / fps) after the one before. Frames on the way that cannot be decoded are left out; they
    keep their index and their time, so that those of the others are right.

    Args:
        path: the file.
        read_ahead: how many frames are decoded ahead of the caller, in a thread that lives as long as the iteration;
            0: none, every frame is decoded when it is asked for.

    Raises InvalidInput on construction where the file is missing, empty, not permitted or no video, and where its path
    is not UTF-8. While iterating it raises SourceLost **after** the last good frame where any frame before that could
    not be decoded (the message says how many), and where the file breaks off: fewer frames came than it declares and
    its container is cut short or damaged, or clearly fewer came (more than 3 and more than 5 %, and for MP4, MOV, MKV
    and WebM also more than 5 % of the time, since an edit list may hide frames on purpose, and a variable frame rate
    makes the count of a Matroska file an estimate).
    """

    def __init__(self, path: str | os.PathLike[str], read_ahead: int = READ_AHEAD_FRAMES) -> None:
        if isinstance(read_ahead, bool) or not isinstance(read_ahead, int) or read_ahead < 0:
            raise InvalidInput(f"read_ahead: expected a whole number of frames from 0 on, got {read_ahead!r}")
        self._read_ahead = read_ahead
        self.path = existing_file(path, "video")
        self._capture: Any = self._open()
        cv2 = load_cv2()
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps < 10_000 else DEFAULT_FPS
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count: int | None = int(declared) if 0 < declared < 1e9 else None

    def _open(self) -> Any:
        with quiet_cv2() as cv2:
            capture = cv2.VideoCapture(name_for_cv2(self.path, "video"), cv2.CAP_FFMPEG)
            if not capture.isOpened():
                capture.release()
                raise InvalidInput(
                    f"video: {self.path} is no video that can be opened; it is something else, or damaged, or its "
                    "index at the end is cut off"
                )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture = self._capture or self._open()
        self._capture = None
        frames = self._decode(capture)
        if not self._read_ahead:
            yield from frames
            return
        ahead = ReadAhead(frames, self._read_ahead)
        try:
            yield from ahead
        finally:
            ahead.close()

    def _decode(self, capture: Any) -> Iterator[Frame]:
        cv2 = load_cv2()
        index, last_s = 0, -math.inf
        failed = lost = first_lost = 0  # failed: reads since the last good frame; lost: before a good frame
        try:
            while failed < MAX_FAILED_READS:
                ok, image = capture.read()
                if not ok:
                    failed += 1
                    continue
                timestamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if not (math.isfinite(timestamp_s) and timestamp_s > last_s):
                    timestamp_s = (last_s + (1 + failed) / self.fps) if index else failed / self.fps
                last_s = timestamp_s
                first_lost = first_lost if lost else index
                lost += failed
                index += failed
                failed = 0
                yield Frame(image, timestamp_s, index)
                index += 1
        finally:
            capture.release()
        reason = self._broken(index, last_s)
        if lost:
            frames = "1 frame" if lost == 1 else f"{lost} frames"
            reason = f"{frames} from there on cannot be decoded" + (f", and {reason}" if reason else "")
        if reason:
            declared = f" of {self.frame_count}" if self.frame_count else ""
            raise SourceLost(f"video: {self.path} broke at frame {first_lost if lost else index}{declared}: {reason}")

    def _broken(self, count: int, last_s: float) -> str:
        """Why the video did not end where it should, after `count` frames, lost ones included; or an empty string."""
        if self.frame_count is not None and count >= self.frame_count:
            return ""  # all are there, whatever the container says of its size: it may have never been told
        container = inspect(self.path)
        if container.missing_bytes:
            return f"the file is cut short by {container.missing_bytes} bytes"
        if container.damaged_at is not None:
            return f"the file is damaged at byte {container.damaged_at}"
        missing = (self.frame_count or 0) - count
        if missing <= MAX_MISSING_FRAMES or missing <= MAX_MISSING_FRACTION * (self.frame_count or 0):
            return "" if count else "no frame can be decoded"
        if (
            container.duration_s is not None
            and last_s + 1 / self.fps >= (1 - MAX_MISSING_FRACTION) * container.duration_s
        ):
            return ""
        return f"the file declares {missing} frames more than can be decoded"

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
