"""A camera that OpenCV can open, by its number or its device file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from numbers import Integral
from typing import Any, SupportsIndex

import numpy as np

from .._util.cv2 import quiet_cv2
from ..errors import InvalidInput, SourceLost
from .capture import HANG_MARGIN_S, Pulse, Shot
from .connection import StateListener
from .live import LiveSource
from .options import SourceOptions

__all__ = ["Camera", "CameraCapture"]

RETRIES = 20
RETRY_PAUSE_S = 0.05


class Camera(LiveSource):
    """Live frames of a camera, see `LiveSource`: the newest one wins, and a camera that was pulled out is opened again
    when it is back. A frame's time is time.monotonic() when the camera handed it over, before it was decoded.

    A read that fails is tried again 20 times, 50 ms apart, before the camera counts as lost.

    Args:
        index: its number from 0, or its device file. The number of a USB camera may be another one after it was pulled
            out; `/dev/v4l/by-id/...` stays.
        options: see SourceOptions; `width`, `height` and `fps` are asked of the camera.
        on_state: see LiveSource.

    Raises InvalidInput for an index that is neither, SourceLost where the camera cannot be opened (unless
    `options.wait` is set).
    """

    def __init__(
        self,
        index: SupportsIndex | str | os.PathLike[str] = 0,
        options: SourceOptions | None = None,
        on_state: StateListener | None = None,
    ) -> None:
        self.index = device = _device(index)
        chosen = options if options is not None else SourceOptions()
        super().__init__(lambda: CameraCapture(device, chosen), f"camera {device}", chosen, on_state=on_state)


class CameraCapture:
    """One connection to a camera through OpenCV, see `Capture`.

    Args:
        device: its number, its device file, or with `backend` (one of OpenCV's CAP_ constants) what that takes.
        name: for messages; None: "camera" and the device.
    """

    ends = False

    def __init__(
        self, device: int | str, options: SourceOptions, backend: int | None = None, name: str | None = None
    ) -> None:
        self._name = name or f"camera {device}"
        self._read_s = options.read_timeout_s
        with quiet_cv2() as cv2:
            self._capture: Any = cv2.VideoCapture(device) if backend is None else cv2.VideoCapture(device, backend)
            if not self._capture.isOpened():
                self._capture.release()
                raise SourceLost(f"{self._name} cannot be opened; is it connected, free and permitted?")
            # the newest frame rather than a queue, where the driver allows
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            for setting, value in _wishes(options, cv2):
                self._capture.set(setting, value)
            fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = fps if 0 < fps < 1000 else None

    def shots(self, pulse: Pulse) -> Iterator[Shot]:
        failed = 0
        while failed <= RETRIES:
            pulse.expect(self._read_s + HANG_MARGIN_S)
            shot = self._read()
            if shot is not None:
                yield shot
                failed = 0
                continue
            failed += 1
            time.sleep(RETRY_PAUSE_S)
        raise SourceLost(f"{self._name} stopped to deliver: {failed} reads failed in a row; is it still connected?")

    def _read(self) -> Shot | None:
        if not self._capture.grab():
            return None
        arrived_s = time.monotonic()
        ok, image = self._capture.retrieve()
        return Shot(partial(_same, image), arrived_s) if ok else None

    def close(self) -> None:
        self._capture.release()


def _same(image: np.ndarray) -> np.ndarray:
    return image


def _wishes(options: SourceOptions, cv2: Any) -> list[tuple[int, float]]:
    """Settings that the camera is asked for: the size as it lies on the sensor, before any turn."""
    width, height = options.width, options.height
    if options.rotation in (90, 270):
        width, height = height, width
    wanted = ((cv2.CAP_PROP_FRAME_WIDTH, width), (cv2.CAP_PROP_FRAME_HEIGHT, height), (cv2.CAP_PROP_FPS, options.fps))
    return [(setting, float(value)) for setting, value in wanted if value is not None]


def _device(index: object) -> int | str:
    if isinstance(index, Integral) and not isinstance(index, bool) and int(index) >= 0:
        return int(index)
    if isinstance(index, (str, os.PathLike)) and os.fspath(index).startswith("/dev/"):
        return os.fspath(index)
    raise InvalidInput(f"camera: expected its number, from 0, or its device file in /dev, got {index!r}")
