"""Pictures for viewers: the newest frame as a JPEG, made in a thread of its own where somebody waits for it."""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HEAD", "PictureMaker", "encode_picture"]

log = logging.getLogger(__name__)

HEAD = struct.Struct(">IHH")
"""Before the JPEG: the frame's number modulo 2**32, the source's number, 0."""


def encode_picture(image: np.ndarray, frame: int, source: int, longer_side_px: int, quality: int) -> bytes:
    """`HEAD` and a JPEG of at most `longer_side_px`. image: uint8 (H, W, 3) BGR."""
    import cv2

    height, width = image.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"no JPEG of a picture of {width}x{height} px")
    return HEAD.pack(frame % 2**32, source, 0) + jpeg.tobytes()


class PictureMaker:
    """Hands JPEGs to `deliver(source, picture)`. Of the frames that come while it is busy the newest one wins: pictures
    are dropped, and nobody waits for them."""

    def __init__(self, deliver: Callable[[int, bytes], None], longer_side_px: int, quality: int) -> None:
        self._deliver, self._longer_side_px, self._quality = deliver, longer_side_px, quality
        self._waiting: dict[int, tuple[np.ndarray, int]] = {}
        self._changed = threading.Condition()
        self._closed = self._told = False
        self.made = 0
        """pictures so far"""
        self._thread = threading.Thread(target=self._run, name="aunet-page-pictures", daemon=True)
        self._thread.start()

    def offer(self, image: np.ndarray, frame: int, source: int) -> None:
        """The newest picture of this source. It must not be changed any more."""
        with self._changed:
            self._waiting[source] = (image, frame)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                source = next(iter(self._waiting))
                image, frame = self._waiting.pop(source)
            try:
                picture = encode_picture(image, frame, source, self._longer_side_px, self._quality)
            except Exception as error:  # a picture of an odd kind costs that picture
                log.log(logging.DEBUG if self._told else logging.WARNING, "page: a picture was left out: %s", error)
                self._told = True
                continue
            self.made += 1
            self._deliver(source, picture)

    def close(self) -> None:
        """It may be called twice."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(5)
