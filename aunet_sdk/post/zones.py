"""Zones of the picture: who is in them, and for how long. From final results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InvalidInput
from ..results import FrameResult
from .order import later_s

__all__ = ["Zone", "ZoneEvent", "ZoneTracker"]


@dataclass(frozen=True, eq=False)
class Zone:
    """A polygon of the picture, with a name. It closes itself and may be concave; where it crosses itself, the inside
    follows the even-odd rule."""

    name: str
    points: np.ndarray
    """(n, 2) float64, n >= 3: x, y; read-only"""
    relative: bool = True
    """True: x and y are shares of the frame's width and height, 0 to 1. False: pixels"""

    def __post_init__(self) -> None:
        try:
            points = np.array(self.points, np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < 3 or not np.isfinite(points).all():
            raise InvalidInput(f"zone {self.name!r}: expected 3 or more points (x, y), got {self.points!r}")
        if self.relative and np.abs(points).max() > 2:
            raise InvalidInput(
                f"zone {self.name!r}: expected shares of the frame from 0 to 1, got {points.max():g}; "
                "say relative=False for pixels"
            )
        points.flags.writeable = False
        object.__setattr__(self, "points", points)

    def contains(self, point: ArrayLike, width: int, height: int) -> bool:
        """Whether a point (x, y), in pixels of a frame of this size, lies inside."""
        x, y = np.asarray(point, np.float64)
        corners = self.points * (width, height) if self.relative else self.points
        x1, y1 = corners.T
        x2, y2 = np.roll(corners, -1, axis=0).T
        crossing = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            left_of = x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
        return bool((crossing & left_of).sum() % 2)


@dataclass(frozen=True)
class ZoneEvent:
    """Somebody came into a zone or left it."""

    kind: str
    """enter or leave"""
    zone: str
    face: int
    timestamp_s: float
    """when it happened: the first result inside, or the first outside; for a person who was lost, the last inside"""
    dwell_s: float
    """how long the person was in the zone this time; 0 for enter"""


@dataclass(eq=False)
class _Stay:
    since_s: float
    seen_s: float
    out_s: float | None = None


class ZoneTracker:
    """Who is in which zone: by the centre of the face's box.

    Args:
        zones: with distinct names.
        min_pause_s: somebody who is outside for a shorter time has not left.
        max_gap_s: somebody who is not seen for longer than this has left.

    Two numbers are kept per person and zone in which the person is. Raises InvalidInput.
    """

    def __init__(self, zones: Sequence[Zone], min_pause_s: float = 0.5, max_gap_s: float = 1.0) -> None:
        self.zones = tuple(zones)
        names = [zone.name for zone in self.zones]
        if len(set(names)) != len(names):
            raise InvalidInput(f"zones: expected distinct names, got {', '.join(names)}")
        if not (0 <= min_pause_s <= 60 and 0 <= max_gap_s <= 60):
            raise InvalidInput(f"expected times from 0 to 60 s, got {min_pause_s!r} and {max_gap_s!r}")
        self._min_pause_s, self._max_gap_s = min_pause_s, max_gap_s
        self._stays: dict[tuple[int, str], _Stay] = {}
        self._now_s = -math.inf

    def __len__(self) -> int:
        """How many stays are kept."""
        return len(self._stays)

    @property
    def dwell_s(self) -> dict[str, dict[int, float]]:
        """By zone and face id: how long those who are in it have been there."""
        there: dict[str, dict[int, float]] = {zone.name: {} for zone in self.zones}
        for (face_id, name), stay in sorted(self._stays.items()):
            there[name][face_id] = (stay.seen_s if stay.out_s is None else stay.out_s) - stay.since_s
        return there

    def update(self, result: FrameResult) -> list[ZoneEvent]:
        """Takes in the next result; returns who came and left. A provisional result changes nothing.

        Raises InvalidInput where the time does not grow; call `flush` between two streams.
        """
        if result.provisional:
            return []
        now_s = self._now_s = later_s(result, self._now_s, "flush")
        events = [self._leave(key) for key, stay in list(self._stays.items()) if now_s - stay.seen_s > self._max_gap_s]
        for face in result.faces:
            centre = face.box[:2] + face.box[2:] / 2
            for zone in self.zones:
                inside = zone.contains(centre, result.width, result.height)
                events += self._see((face.id, zone.name), inside)
        return events

    def flush(self) -> list[ZoneEvent]:
        """Ends the stream: everybody leaves. The next result may begin a new stream, with any time."""
        events = [self._leave(key) for key in list(self._stays)]
        self._now_s = -math.inf
        return events

    def _see(self, key: tuple[int, str], inside: bool) -> list[ZoneEvent]:
        stay, now_s = self._stays.get(key), self._now_s
        if stay is None:
            if not inside:
                return []
            self._stays[key] = _Stay(now_s, now_s)
            return [ZoneEvent("enter", key[1], key[0], now_s, 0.0)]
        stay.seen_s = now_s
        if inside:
            stay.out_s = None
            return []
        if stay.out_s is None:
            stay.out_s = now_s
        return [self._leave(key)] if now_s - stay.out_s >= self._min_pause_s else []

    def _leave(self, key: tuple[int, str]) -> ZoneEvent:
        stay = self._stays.pop(key)
        end_s = stay.seen_s if stay.out_s is None else stay.out_s
        return ZoneEvent("leave", key[1], key[0], end_s, end_s - stay.since_s)
