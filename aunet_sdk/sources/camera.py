"""A camera that OpenCV can open by its number."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from numbers import Integral
from typing import Any, SupportsIndex

import numpy as np

from .._util.cv2 import quiet_cv2
from ..errors import InvalidInput, SourceLost
from .base import Frame, SourceBase

RETRIES = 20
RETRY_PAUSE_S = 0.05


class Camera(SourceBase):
    """Live frames of camera `index`; a frame's time is time.monotonic() when the camera handed it over, before it was
    decoded.

    A read that fails is tried again 20 times, 50 ms apart, before the camera counts as lost. `close` may be called from
    another thread: it waits for the frame that is just being read, and the iteration then ends.

    Raises InvalidInput for an index that is no number from 0, SourceLost where the camera cannot be opened or stops
    to deliver.
    """

    def __init__(self, index: SupportsIndex = 0) -> None:
        if isinstance(index, bool) or not isinstance(index, Integral) or int(index) < 0:
            raise InvalidInput(f"camera: expected its number, from 0, got {index!r}")
        self.index = number = int(index)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        with quiet_cv2() as cv2:
            self._capture: Any = cv2.VideoCapture(number)
            if not self._capture.isOpened():
                self._capture.release()
                raise SourceLost(f"camera {number} cannot be opened; is it connected, free and permitted?")
            # the newest frame rather than a queue, where the driver allows
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def __iter__(self) -> Iterator[Frame]:
        count = failed = 0
        while not self._closing.is_set():
            got = self._read()
            if got is not None:
                yield Frame(*got, count)
                count, failed = count + 1, 0
                continue
            failed += 1
            if failed > RETRIES and not self._closing.is_set():
                raise SourceLost(
                    f"camera {self.index} stopped to deliver after {count} frames: {failed} reads failed in a row; is "
                    "it still connected?"
                )
            self._closing.wait(RETRY_PAUSE_S)

    def _read(self) -> tuple[np.ndarray, float] | None:
        """The next picture and the time at which it was grabbed; None where that failed."""
        with self._lock:
            if self._capture is None or not self._capture.grab():
                return None
            time_s = time.monotonic()
            ok, image = self._capture.retrieve()
            return (image, time_s) if ok else None

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._capture is not None:
                self._capture.release()
                self._capture = None
