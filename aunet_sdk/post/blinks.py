"""Blinks of one person: from AU45 where the model has it, else from the shape of the eyes."""

from __future__ import annotations

import math

import numpy as np

from ..results import Face

__all__ = ["BlinkCounter", "eye_openness"]

_EYES = np.array([[36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]])
"""iBUG numbers of the image-left and the image-right eye: corner, two of the upper lid, corner, two of the lower"""

CLOSED, OPEN = 0.8, 0.88
"""An eye is shut below this share of the person's own open eye, and open again above that one. The points of the
shipped models follow the lids poorly: in seven blinks of two clips, as seen by eye, the opening goes down to 0.58 and
0.70 of the open one twice, and five times to no less than it does in other clips without any blink."""
LEAST_OPEN = 0.25
"""An eye whose learned level is below this was never seen open: the eyes are shut, or too narrow to tell."""
SHORTEST_S = 0.06
"""Eyes that are shut for less, a single frame of a common camera, are noise of the points."""
AU45_CLOSED, AU45_OPEN = 0.5, 0.35
"""The same for the probability of AU45 (blink), where it is shut above and open below."""
AU45_SHORTEST_S = 0.03
"""AU45 does not tremble as points do: a quick blink is shut in a single frame of a common camera."""
LONGEST_S = 0.5
"""Eyes that are shut for longer do not blink: they are closed, or look down."""
SETTLED_S = 0.1
"""Before and after a blink the eyes are open for so long; what only trembles around the limit is not a blink."""
MOST_YAW_DEG, MOST_PITCH_DEG = 35.0, 25.0
"""A face that is turned further away does not show its eyes well enough."""
SMALLEST_EYE_PX = 8.0
"""The width of an eye below which its opening is not measured."""

_FADE_S = 30.0
_QUANTILE = 0.7
_ENOUGH_S = 0.6
_LONGEST_STEP_S = 0.2
_BIN, _BINS = 0.01, 60


def eye_openness(landmarks: np.ndarray) -> float:
    """Height of the eyes' opening over their width, the mean of both eyes; about 0.3 for open eyes.

    landmarks: (68, 2) px, iBUG order. Returns NaN where an eye has no width.
    """
    eyes = np.asarray(landmarks, np.float64)[_EYES]  # (2, 6, 2)
    heights = np.hypot(*np.moveaxis(eyes[:, (1, 2)] - eyes[:, (5, 4)], -1, 0)).mean(1)
    widths = np.hypot(*(eyes[:, 0] - eyes[:, 3]).T)
    return float((heights / widths).mean()) if widths.min() > 0 else float("nan")


class BlinkCounter:
    """Counts the blinks of one person. What is kept does not grow.

    The level of the open eye is learned: the upper third of what the person showed in the last half minute or so. Until
    it has been learned for 0.6 s, nothing is said. Eyes in a head that is turned are narrower than high; their opening
    is multiplied by the cosine of the yaw.
    """

    def __init__(self) -> None:
        self._seconds = np.zeros(_BINS)
        """how long the eyes had each opening, faded"""
        self._last_s: float | None = None
        self._opened_s: float | None = None
        """since when the eyes are open"""
        self._closed_s: float | None = None
        """when the eyes shut of which a blink may become"""
        self.closed: bool | None = None
        """whether the eyes are shut; None where they cannot be seen, or nothing is known yet"""

    def update(self, face: Face, time_s: float) -> bool:
        """Takes in the face at this time, which must grow; returns whether a blink is certain now. It is once the eyes
        have been open again for SETTLED_S."""
        step_s = 0.0 if self._last_s is None else time_s - self._last_s
        self._last_s = time_s
        before, self.closed = self.closed, self._shut(face, min(step_s, _LONGEST_STEP_S))
        if self.closed is None or step_s > LONGEST_S:
            self._opened_s = self._closed_s = None
        elif self.closed:
            if before is not True:
                settled = self._opened_s is not None and time_s - self._opened_s >= SETTLED_S
                self._closed_s = time_s if settled and before is False else None
            self._opened_s = None
        else:
            if self._opened_s is None:
                self._opened_s = time_s
                shortest_s = AU45_SHORTEST_S if "AU45" in face.au_names else SHORTEST_S
                if self._closed_s is not None and not shortest_s <= time_s - self._closed_s <= LONGEST_S:
                    self._closed_s = None
            if self._closed_s is not None and time_s - self._opened_s >= SETTLED_S:
                self._closed_s = None
                return True
        return False

    def _shut(self, face: Face, step_s: float) -> bool | None:
        pose = face.pose
        if not (abs(pose.yaw_deg) <= MOST_YAW_DEG and abs(pose.pitch_deg) <= MOST_PITCH_DEG):
            return None
        if "AU45" in face.au_names:
            probability = face.au["AU45"]
            if probability != probability:
                return None
            return probability >= (AU45_OPEN if self.closed else AU45_CLOSED)
        widths = np.hypot(*(face.landmarks[_EYES[:, 0]] - face.landmarks[_EYES[:, 3]]).T)
        openness = eye_openness(face.landmarks) * math.cos(math.radians(pose.yaw_deg))
        if widths.min() < SMALLEST_EYE_PX or openness != openness:
            return None
        self._seconds *= np.exp(-step_s / _FADE_S)
        self._seconds[min(int(openness / _BIN), _BINS - 1)] += step_s
        share = self._seconds.cumsum()
        if share[-1] < _ENOUGH_S:
            return None
        level = _BIN * (0.5 + int((share < _QUANTILE * share[-1]).sum()))
        if level < LEAST_OPEN:
            return None
        return openness < level * (OPEN if self.closed else CLOSED)
