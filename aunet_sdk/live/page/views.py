"""What the page knows of one source: its messages as they go out, its speed, its last status."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sinks.message import encode, frame_message
from .recent import LastMinute

if TYPE_CHECKING:
    from ...results import FrameResult

__all__ = ["SourceView"]


class SourceView:
    """One source. `number` is what pictures carry; names may be long."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.minute = LastMinute()
        self.status: dict[str, Any] | None = None
        """the last one"""
        self.results = self.faces = 0
        self.last_s: float | None = None
        """when (monotonic) the last result came"""
        self._times: deque[float] = deque(maxlen=64)
        self._pictured = -1

    @property
    def fps(self) -> float | None:
        """Results per second: as the status says, else as they came here in the last seconds."""
        if self.status is not None and self.status.get("fps") is not None:
            return float(self.status["fps"])
        now_s = time.monotonic()
        times = [at_s for at_s in list(self._times) if now_s - at_s < 3]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 2 and times[-1] > times[0] else None

    def count(self, result: FrameResult) -> None:
        """One result."""
        self.last_s = time.monotonic()
        self.faces = len(result.faces)
        if not result.provisional:
            self.results += 1
            self._times.append(self.last_s)
            self.minute.add(result)

    def needs_picture(self, result: FrameResult) -> bool:
        """Whether the frame's picture was not handed out yet: it comes with the early result and with the final one."""
        if result.index <= self._pictured < result.index + 1000:
            return False
        self._pictured = result.index
        return True

    def frame_text(self, result: FrameResult) -> str:
        """The message "frame" with what the page draws beside: the frame's size, the points, the computing time."""
        message = frame_message(result, self.name)
        message["width"], message["height"] = int(result.width), int(result.height)
        total_ms = result.latency_ms.get("total")
        message["total_ms"] = None if total_ms is None or not np.isfinite(total_ms) else round(float(total_ms), 2)
        for face, told in zip(result.faces, message["faces"], strict=True):
            points = np.nan_to_num(face.landmarks, nan=-1e4, posinf=-1e4, neginf=-1e4)
            told["points"] = np.rint(points).astype(int).ravel().tolist()
        return encode(message)
