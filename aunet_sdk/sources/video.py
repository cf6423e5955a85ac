"""Video files, with the container's own timestamps, and an error where a file breaks off."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from .._util.cv2 import load_cv2, quiet_cv2
from .._util.files import existing_file, name_for_cv2
from ..errors import InvalidInput, SourceLost
from .base import Frame, SourceBase
from .container import inspect
from .prefetch import ReadAhead

MAX_MISSING_FRACTION = 0.05
MAX_MISSING_FRAMES = 3
"""fewer frames than declared by so many, and by this part of them, say nothing where the container gives a reason: it
counts none, or other tracks and edits belong to the time that it declares"""
ROUNDING_S = 0.002
"""containers' times are rounded to milliseconds"""
MAX_FAILED_READS = 256
"""so many reads that fail in a row are the end; at the end of a file one costs some microseconds"""
DEFAULT_FPS = 25.0
LONE_FRAME_S = 1.0
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
    not be decoded (the message says how many), and where the file breaks off: fewer frames came than it declares, and
    its container is cut short or damaged, or the video ends before the time that the container declares for it by more
    than half a frame. Where other tracks (sound in an MKV or FLV file) or an edit list share that time, or the
    container declares none, it is clearly fewer: more than 3 and more than 5 %, of the time too where there is one.
    MPEG transport and program streams declare nothing: one that is cut short cannot be told from a whole one.
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
        pace = _Pace(1 / self.fps)
        try:
            while failed < MAX_FAILED_READS:
                ok, image = capture.read()
                if not ok:
                    failed += 1
                    continue
                timestamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if not (math.isfinite(timestamp_s) and timestamp_s > last_s):
                    timestamp_s = (last_s + (1 + failed) / self.fps) if index else failed / self.fps
                if index:
                    pace.add((timestamp_s - last_s) / (1 + failed))
                last_s = timestamp_s
                first_lost = first_lost if lost else index
                lost += failed
                index += failed
                failed = 0
                yield Frame(image, timestamp_s, index)
                index += 1
        finally:
            capture.release()
        reasons = [reason] if (reason := self._broken(index, last_s, pace)) else []
        if lost == 1:
            reasons.insert(0, f"frame {first_lost} could not be decoded")
        elif lost:
            reasons.insert(0, f"{lost} frames could not be decoded, the first of them frame {first_lost}")
        if reasons:
            declared = f" of {self.frame_count}" if self.frame_count else ""
            raise SourceLost(
                f"video: {self.path} is broken: {', and '.join(reasons)}; {index - lost}{declared} frames were read"
            )

    def _broken(self, count: int, last_s: float, pace: _Pace) -> str:
        """Why the video did not end where it should, after `count` frames, lost ones included; or an empty string."""
        declared = self.frame_count or 0
        if 0 < declared <= count:
            return ""  # all are there, whatever the container says of its size: it may have never been told
        container = inspect(self.path)
        after = f" after frame {count - 1}" if count else " before its first frame"
        if container.missing_bytes:
            return f"the file is cut short{after}, by {container.missing_bytes} bytes"
        if container.damaged_at is not None:
            return f"the file is damaged at byte {container.damaged_at}"
        if not count:
            return "no frame can be decoded"
        end_s = declared / self.fps if container.counted and container.duration_s is None else container.video_s
        if end_s is not None and last_s + pace.longest_s + pace.usual_s / 2 + ROUNDING_S < end_s:
            return f"the video ends{after}, at {last_s:.3f} s of {end_s:.3f} s"
        expected = declared if container.counted else round(declared / self.fps / pace.usual_s)
        missing = expected - count
        if missing <= MAX_MISSING_FRAMES or missing <= MAX_MISSING_FRACTION * expected:
            return ""
        whole_s = container.duration_s
        if whole_s is not None and last_s + 1 / self.fps >= (1 - MAX_MISSING_FRACTION) * whole_s:
            return ""
        return f"{missing} frames more are declared than can be decoded"

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class _Pace:
    """The time from frame to frame in seconds: the longest, and the usual one.

    Three quarters of the first 64 do not exceed the usual one: some program streams state the times of every other
    frame alone, and a decoder guesses the rest.

    Of a single frame the usual one is not known, whatever rate its container declares (1000 fps, for instance): it may
    last a second.
    """

    def __init__(self, nominal_s: float) -> None:
        self.longest_s = nominal_s
        self._alone_s = max(nominal_s, LONE_FRAME_S)
        self._first: list[float] = []

    def add(self, step_s: float) -> None:
        self.longest_s = max(self.longest_s, step_s)
        if len(self._first) < 64:
            self._first.append(step_s)

    @property
    def usual_s(self) -> float:
        return sorted(self._first)[3 * len(self._first) // 4] if self._first else self._alone_s
