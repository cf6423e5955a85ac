"""How far the packets of a file reach, beside what its container declares: is it cut short?"""

from __future__ import annotations

import math
from typing import Any

ROUNDING_S = 0.002
"""containers' times are rounded to milliseconds"""
LONE_FRAME_S = 1.0
"""a single picture may last so long, whatever rate its container declares (1000 fps, for instance)"""
HOLE_BYTES = 1024
"""between two packets that follow each other lie less than so many bytes of the container's own"""
HOLE_STEPS = 1.5

_DECLARING = ("avi", "matroska,webm", "flv", "asf")
"""containers that declare their duration, and whose index does not list every picture"""
_RESYNCING = ("matroska,webm", "flv")
"""containers that are read on behind damage without a word; their times show the gap"""


class Reach:
    """Sees every packet of a file, those of the sound too, and says at the end what is missing.

    Args:
        container: an open PyAV container.
        stream: its video.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._format = container.format.name
        self._stream = stream
        self._tick_s = float(stream.time_base)
        self._alone = len(container.streams) == 1
        self._declared_s = _declared_s(container, stream)
        self._own = self._alone or stream.duration is not None
        entries = stream.index_entries
        self._index_end: int | None = entries[len(entries) - 1].timestamp if len(entries) else None
        self._last_dts: int | None = None
        self._last_pts: int | None = None
        self._others_end_s = -math.inf
        self._steps: list[int] = []
        self._longest = 0
        self._file_at: int | None = None
        self._hole_at: int | None = None
        self.damaged_at: int | None = None
        """offset in bytes of a place that the container could not be read at, and that costs pictures"""

    def see(self, packet: Any) -> None:
        """The next packet in the order of the file."""
        time = packet.dts if packet.dts is not None else packet.pts
        pts = packet.pts if packet.pts is not None else packet.dts
        self._see_place(packet)
        if time is None or pts is None:
            return
        if packet.stream_index != self._stream.index:
            end_s = float((pts + (packet.duration or 0)) * packet.time_base)
            self._others_end_s = max(self._others_end_s, end_s)
            return
        if self._last_dts is not None:
            step = time - self._last_dts
            if self._hole_at is not None and self._steps and step > HOLE_STEPS * self._usual:
                self.damaged_at = self.damaged_at or self._hole_at
            elif step > 0:
                self._longest = max(self._longest, step)
                if len(self._steps) < 64:
                    self._steps.append(step)
        self._hole_at = None
        self._last_dts = time if self._last_dts is None else max(time, self._last_dts)
        end = pts + (packet.duration or 0)
        self._last_pts = pts if self._last_pts is None else max(pts, self._last_pts)
        self._others_end_s = max(self._others_end_s, end * self._tick_s)

    def _see_place(self, packet: Any) -> None:
        if packet.pos is None or packet.pos < 0 or self._format not in _RESYNCING:
            return
        if self._file_at is not None and packet.pos > self._file_at + HOLE_BYTES and self._hole_at is None:
            self._hole_at = self._file_at
        self._file_at = max(packet.pos + packet.size, self._file_at or 0)

    @property
    def _usual(self) -> float:
        """Ticks from one picture to the next: three quarters of the first 64 steps do not exceed it. Some streams
        state the time of every other picture alone."""
        return sorted(self._steps)[3 * len(self._steps) // 4]

    def shortfall(self, last_s: float, offset_s: float, index: int) -> str:
        """Why the file is not whole, or an empty string.

        Args:
            last_s: time of the last picture that came.  offset_s: what was taken off the container's times.
            index: number of that picture.
        """
        if self.damaged_at is not None:
            return f"the file is damaged at byte {self.damaged_at}"
        after = f"the video ends after frame {index}, at {last_s:.3f} s" if index >= 0 else "no frame can be decoded"
        if self._last_dts is None or self._last_pts is None:
            return "" if index >= 0 else after
        if "mp4" in self._format and self._index_end is not None and self._index_end > self._last_dts:
            end_s = (self._index_end + self._longest) * self._tick_s - offset_s
            return f"{after} of {end_s:.3f} s: the file is cut short"
        if self._declared_s is None or self._format not in _DECLARING:
            return ""
        usual_s = self._usual * self._tick_s if self._steps else LONE_FRAME_S
        end_s = self._last_pts * self._tick_s + max(self._longest * self._tick_s, usual_s)
        if not self._own or self._others_end_s > end_s:
            end_s = max(end_s, self._others_end_s)
        if end_s + usual_s / 2 + ROUNDING_S < self._declared_s:
            return f"{after} of {self._declared_s - offset_s:.3f} s: the file is cut short"
        return ""


def _declared_s(container: Any, stream: Any) -> float | None:
    """The time at which the container says that its video ends, or where it says that of the whole only, its end."""
    if container.format.name == "avi":  # FFmpeg guesses the duration of one that is cut; the head counts its pictures
        return float(stream.frames / stream.average_rate) if stream.frames and stream.average_rate else None
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration is None:
        return None
    return (container.duration + min(0, container.start_time or 0)) / 1e6
