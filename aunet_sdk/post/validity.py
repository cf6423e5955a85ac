"""Whether an AU can be seen at all, and why not: covered, turned away, cut off, too small, dark, bright or blurred.

A network gives a number for a mouth behind a hand, too. The peaks of its heatmaps betray it: over a mouth that is
covered they are lower than over one that is seen. Figures and their command stand in docs/events.md; nothing of it is
in the paper that this project follows, whose figure 7 shows such failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..errors import InvalidInput
from ..facs import parse_au
from ..results import Face, HeadPose
from .appearance import Appearance, AppearanceReader, eyes_px

__all__ = ["AUValidity", "Reason", "Region", "Validity", "region_of"]


class Reason(str, Enum):
    """Why an AU cannot be seen. Where several hold, the first of this order is given."""

    CUT = "cut"
    """the region lies beyond the frame's edge, in part or whole"""
    SMALL = "small"
    """the face has too few pixels"""
    TURNED = "turned"
    """the head is turned away too far"""
    DARK = "dark"
    """the face is too dark"""
    BRIGHT = "bright"
    """the face is overexposed"""
    BLURRED = "blurred"
    """the face is out of focus or moves too fast for the camera"""
    COVERED = "covered"
    """something is before the region"""

    def __str__(self) -> str:
        return self.value


class Region(str, Enum):
    """The parts of the face in which AUs show."""

    BROWS = "brows"
    EYES = "eyes"
    NOSE = "nose"
    MOUTH = "mouth"

    def __str__(self) -> str:
        return self.value


LANDMARKS: Mapping[Region, tuple[int, ...]] = {
    Region.BROWS: tuple(range(17, 27)),
    Region.EYES: tuple(range(36, 48)),
    Region.NOSE: tuple(range(27, 36)),
    Region.MOUTH: tuple(range(48, 60)),
}
"""iBUG numbers of each region: the contour that the landmarks of Table I lie on. One landmark alone is too noisy; the
chin's (AU17, AU26) are as unsure where it is seen as where it is not, so the mouth stands for it."""

OFFSETS: Mapping[Region, float] = {Region.BROWS: 0.02, Region.EYES: 0.085, Region.NOSE: 0.085, Region.MOUTH: 0.1}
"""A region is covered where the mean confidence of its landmarks is below the bundle's `min_confidence` plus this."""
DOUBT = 0.05
"""Over the mouth, confidences up to so much above the limit leave a doubt, as fingers look like lips; the colour of the
lips (`AppearanceReader.lip_tint`) decides then, where the picture has one."""
LEAST_TINT, CLEAR_TINT = 0.6, 2.0
SMOOTH_S = 0.15
"""Time constant of the mean over time of each confidence and of the tint."""
FORGET_S = 1.0
"""After a gap of this length a face begins anew."""
LOOK_S, TINT_S = 0.2, 0.1
"""Whether a face is dark, bright or blurred, and the tint of its lips, are looked at anew after these times, not in
every frame."""
MOST_YAW_DEG, MOST_PITCH_DEG = 40.0, 35.0
LEAST_EYES_PX = 11.0
"""Distance of the eyes' centres in a face of about 26 px."""
LEAST_BRIGHTNESS, MOST_BRIGHT_SHARE, LEAST_SHARPNESS = 20.0, 0.5, 0.06
"""Limits of `Appearance`."""

_REGIONS = tuple(Region)
_MOUTH = _REGIONS.index(Region.MOUTH)
_BROWS, _EYES, _NOSE = (1, 2, 3, 4), (5, 6, 7, *range(41, 47)), (9, 11, 38, 39)
_SPANS = tuple(slice(LANDMARKS[region][0], LANDMARKS[region][-1] + 1) for region in _REGIONS)
"""LANDMARKS, whose numbers follow one another, as slices"""
_BOUNDS = np.array([17, 27, 36, 48, 60])
"""where brows, nose, eyes and mouth begin, and what comes after them"""


@lru_cache(maxsize=256)
def region_of(au: str | int) -> Region:
    """The region in which an AU shows, after Table I; for numbers that it does not have, after FACS."""
    number = parse_au(au)
    for region, numbers in ((Region.BROWS, _BROWS), (Region.EYES, _EYES), (Region.NOSE, _NOSE)):
        if number in numbers:
            return region
    return Region.MOUTH


@dataclass(frozen=True)
class Validity:
    """Whether one AU of one face in one frame can be seen."""

    valid: bool
    why_not: Reason | None = None
    """None where it is valid"""


VALID = Validity(True)
_HIDDEN = {reason: Validity(False, reason) for reason in Reason}


class _Person(NamedTuple):
    seen_s: float
    levels: tuple[float, ...]
    """4, smoothed over time: the mean confidences of the regions"""
    tint: float | None = None
    """of the lips, smoothed, while the confidence of the mouth leaves a doubt"""
    tinted_s: float = -math.inf
    """when the tint was looked at last"""
    looks: Reason | None = None
    """DARK, BRIGHT or BLURRED as of `looked_s`, None where the picture is good"""
    looked_s: float = -math.inf


class AUValidity:
    """Says for every AU of a face whether it can be seen.

    Args:
        min_confidence: the bundle's (`detector.bundle.min_confidence`), 0 to 1: it says on which scale the peaks of its
            heatmaps stand.

    A few numbers are kept per person, and forgotten FORGET_S after the person was seen last. One object serves one
    stream and one thread. Raises InvalidInput for a number outside its range.
    """

    def __init__(self, min_confidence: float) -> None:
        if not 0 <= min_confidence <= 1:
            raise InvalidInput(f"min_confidence: expected a number from 0 to 1, got {min_confidence!r}")
        self._limits = tuple(min_confidence + OFFSETS[region] for region in _REGIONS)
        self._people: dict[int, _Person] = {}
        self._now_s = -math.inf
        self._reader = AppearanceReader()

    def __len__(self) -> int:
        """The number of people who are remembered."""
        return len(self._people)

    def check(
        self,
        face: Face,
        size: tuple[int, int],
        timestamp_s: float,
        image: np.ndarray | None = None,
    ) -> dict[str, Validity]:
        """By AU name, whether each AU of `face` can be seen.

        Args:
            size: width and height of the frame in pixels.
            timestamp_s: the frame's time, not before that of the last call for this face.
            image: the frame, uint8 (H, W, 3) BGR or (H, W). Without it nothing is dark, bright or blurred, and a hand
                whose fingers look like lips is missed more often.

        Raises InvalidInput.
        """
        reasons = self.reasons(face.id, face.landmarks, face.landmark_confidence, face.pose, size, timestamp_s, image)
        found = {au: reasons[region_of(au)] for au in face.au_names}
        return {au: VALID if reason is None else _HIDDEN[reason] for au, reason in found.items()}

    def reasons(
        self,
        face_id: int,
        landmarks: np.ndarray,
        confidences: np.ndarray,
        pose: HeadPose,
        size: tuple[int, int],
        timestamp_s: float,
        image: np.ndarray | None = None,
    ) -> dict[Region, Reason | None]:
        """By region, why its AUs cannot be seen; None where they can.

        Args:
            landmarks: (68, 2) px of the frame; confidences: (68,) 0 to 1.
            size, timestamp_s, image: as in `check`.

        Raises InvalidInput.
        """
        time_s = float(timestamp_s)
        known = self._known(face_id, time_s)
        whole_face, inside = _turned_or_small(landmarks, pose), _inside(landmarks, size)
        levels = _levels(confidences, known, time_s)
        tint, tinted_s = None, -math.inf
        looks, looked_s = (None, -math.inf) if known is None else (known.looks, known.looked_s)
        if image is not None:
            if -DOUBT <= levels[_MOUTH] - self._limits[_MOUTH] < DOUBT:  # it costs more than all the rest
                tint, tinted_s = self._tint(known, image, landmarks, time_s)
            if whole_face is None:
                if time_s - looked_s >= LOOK_S - 1e-6:
                    looks, looked_s = _reason_of(self._reader.read(image, landmarks)), time_s
                whole_face = looks
        self._remember(face_id, _Person(time_s, levels, tint, tinted_s, looks, looked_s))
        reasons: dict[Region, Reason | None] = {}
        for region, span, level, limit in zip(_REGIONS, _SPANS, levels, self._limits, strict=True):
            if region is Region.MOUTH and tint is not None and tint < LEAST_TINT:
                limit += DOUBT
            if not inside and not _inside(landmarks[span], size):
                reasons[region] = Reason.CUT
            elif whole_face is None and level < limit:
                reasons[region] = Reason.COVERED
            else:
                reasons[region] = whole_face
        return reasons

    def clear(self) -> None:
        """Forgets everybody; the next call may have any time."""
        self._people.clear()
        self._now_s = -math.inf

    def snapshot(self) -> Callable[[], None]:
        """What puts everything back to where it is now."""
        people, now_s = self._people.copy(), self._now_s

        def restore() -> None:
            self._people, self._now_s = people, now_s

        return restore

    def _known(self, face_id: int, time_s: float) -> _Person | None:
        """What is remembered of this face. Raises InvalidInput for a time before that."""
        person = self._people.get(face_id)
        if not math.isfinite(time_s) or (person is not None and time_s < person.seen_s):
            after = "finite" if person is None else f"of {person.seen_s:g} s or later"
            raise InvalidInput(f"timestamp_s: expected a time {after}, got {time_s:g} s; clear() between two streams")
        return person if person is not None and time_s - person.seen_s <= FORGET_S else None

    def _remember(self, face_id: int, person: _Person) -> None:
        self._people[face_id], time_s = person, person.seen_s
        if time_s > self._now_s:
            self._now_s = time_s
            for gone in [i for i, one in self._people.items() if time_s - one.seen_s > FORGET_S]:
                del self._people[gone]

    def _tint(
        self, person: _Person | None, image: np.ndarray, landmarks: np.ndarray, time_s: float
    ) -> tuple[float | None, float]:
        """The smoothed tint of the lips, from a look that is TINT_S old at most (LOOK_S where it was clear), and when
        that was."""
        before, tinted_s = (None, -math.inf) if person is None else (person.tint, person.tinted_s)
        if time_s - tinted_s < (TINT_S if before is None or before < CLEAR_TINT else LOOK_S) - 1e-6:
            return before, tinted_s
        tint = self._reader.lip_tint(image, landmarks)
        if before is not None:
            tint = before if tint is None else before + _share(time_s - tinted_s) * (tint - before)
        return tint, time_s


def _levels(confidences: np.ndarray, known: _Person | None, time_s: float) -> tuple[float, ...]:
    """The mean confidences (68,) of the regions, smoothed over time."""
    brows, nose, eyes, mouth, _ = np.add.reduceat(confidences, _BOUNDS).tolist()
    means = brows / 10, eyes / 12, nose / 9, mouth / 12
    if known is None:
        return means
    share = _share(time_s - known.seen_s)
    return tuple(level + share * (mean - level) for level, mean in zip(known.levels, means, strict=True))


def _share(elapsed_s: float) -> float:
    """The share of a new value in the mean over time, after so long."""
    return -math.expm1(-elapsed_s / SMOOTH_S)


def _inside(points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether all of these landmarks lie in the frame, and none beyond its edge."""
    (left, top), (right, bottom) = np.minimum.reduce(points).tolist(), np.maximum.reduce(points).tolist()
    return bool(left >= -0.5 and top >= -0.5 and right < size[0] - 0.5 and bottom < size[1] - 0.5)


def _turned_or_small(points: np.ndarray, pose: HeadPose) -> Reason | None:
    if not eyes_px(points) >= LEAST_EYES_PX:
        return Reason.SMALL
    seen_from_the_front = abs(pose.yaw_deg) <= MOST_YAW_DEG and abs(pose.pitch_deg) <= MOST_PITCH_DEG
    return None if seen_from_the_front else Reason.TURNED


def _reason_of(looks: Appearance | None) -> Reason | None:
    if looks is None:
        return None
    if looks.brightness < LEAST_BRIGHTNESS:
        return Reason.DARK
    if looks.bright_share > MOST_BRIGHT_SHARE:
        return Reason.BRIGHT
    return Reason.BLURRED if looks.sharpness < LEAST_SHARPNESS else None
