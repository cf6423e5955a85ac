"""OpenCV without its messages on stderr."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.Lock()
_inside = 0
_level_before = 0


def load_cv2() -> ModuleType:
    """OpenCV, with FFmpeg's own messages to stderr turned off (we raise errors of our own instead)."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read by OpenCV once, when the first video is opened
    import cv2

    return cv2


@contextmanager
def quiet_cv2() -> Iterator[ModuleType]:
    """OpenCV with its log silent inside the block. Its level is the process's own: the first block that is entered, in
    whatever thread, keeps the level of before, and the last one that is left gives it back, unless somebody else has
    set another one meanwhile."""
    global _inside, _level_before
    cv2 = load_cv2()
    logging = cv2.utils.logging
    with _lock:
        if not _inside:
            _level_before = logging.getLogLevel()
            logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        _inside += 1
    try:
        yield cv2
    finally:
        with _lock:
            _inside -= 1
            if not _inside and logging.getLogLevel() == logging.LOG_LEVEL_SILENT:
                logging.setLogLevel(_level_before)
