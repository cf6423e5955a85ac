"""A camera that OpenCV can open by its number."""

from __future__ import annotations

import time
from collections.abc import Iterator
from numbers import Integral
from typing import Any, SupportsIndex

from .._util.cv2 import quiet_cv2
from ..errors import InvalidInput, SourceLost
from .base import Frame, SourceBase


class Camera(SourceBase):
    """Live frames of camera `index`; a frame's time is time.monotonic() when it was fetched.

    Raises InvalidInput for an index that is no number from 0, SourceLost where the camera cannot be opened or stops
    to deliver.
    """

    def __init__(self, index: SupportsIndex = 0) -> None:
        if isinstance(index, bool) or not isinstance(index, Integral) or int(index) < 0:
            raise InvalidInput(f"camera: expected its number, from 0, got {index!r}")
        self.index = number = int(index)
        with quiet_cv2() as cv2:
            self._capture: Any = cv2.VideoCapture(number)
            if not self._capture.isOpened():
                self._capture.release()
                raise SourceLost(f"camera {number} cannot be opened; is it connected, free and permitted?")
            self._capture.set(
                cv2.CAP_PROP_BUFFERSIZE, 1
            )  # the newest frame rather than a queue, where the driver allows

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        while self._capture is not None:
            ok, image = self._capture.read()
            if not ok:
                raise SourceLost(f"camera {self.index} stopped to deliver after {count} frames")
            yield Frame(image, time.monotonic(), count)
            count += 1

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
