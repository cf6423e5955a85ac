"""OpenCV without its messages on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def load_cv2() -> ModuleType:
    """OpenCV, with FFmpeg's own messages to stderr turned off (we raise errors of our own instead)."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read by OpenCV once, when the first video is opened
    import cv2

    return cv2


@contextmanager
def quiet_cv2() -> Iterator[ModuleType]:
    """OpenCV with its log silent inside the block; the level of before comes back."""
    cv2 = load_cv2()
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield cv2
    finally:
        logging.setLogLevel(before)
