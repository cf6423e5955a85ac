"""What people did over the last minute or so: blinks, smiles, attention to the camera; per person, from final results.

Nothing of it is in the paper that this project follows. docs/events.md says how each is defined and how well it was
measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidInput
from ..results import Face, FrameResult
from .blinks import BlinkCounter
from .order import later_s
from .windows import WindowSum

__all__ = ["Activity", "ActivityTracker"]

SMILE_ENDS = 0.7
"""A smile ends below this share of the probability with which one begins."""
ENOUGH_S = 10.0
"""Before the eyes were seen for so long, no rate of blinks is given."""


@dataclass(frozen=True)
class Activity:
    """One person at one time. Seconds and counts are of the sliding window, `total` ones of the whole stay."""

    face: int
    """id of the face"""
    timestamp_s: float
    seen_s: float
    """how long the person was seen in the window"""
    blinks: int
    """blinks in the window"""
    blinks_per_minute: float | None
    """blinks per minute in which the eyes could be seen; None before 10 s of that"""
    eyes_closed: bool | None
    """whether the eyes are shut now; None where they cannot be seen (turned away) or nothing is known yet"""
    smile_s: float | None
    """how long the person smiled (AU12) in the window; None where the model has no AU12"""
    facing: bool
    """whether the face is turned to the camera now"""
    attention_s: float
    """how long it was turned to the camera in the window"""
    attention_total_s: float
    """and since the person came"""


class _Person:
    """What is kept of one person: five sums over the window, and the state at the last result."""

    def __init__(self, window_s: float, time_s: float) -> None:
        self.last_s = time_s
        self.eyes = BlinkCounter()
        self.seen, self.watched, self.blinks, self.smile, self.attention = (WindowSum(window_s) for _ in range(5))
        self.attention_total_s = 0.0
        self.facing = False
        self.smiling: bool | None = None


class ActivityTracker:
    """Follows what people do, over a window of time that slides.

    Args:
        window_s: length of the window, 1 to 3600 s.
        yaw_deg, pitch_deg: a face within these angles is turned to the camera; it stays so for `slack_deg` more.
        smile: probability of AU12 from which on a smile begins; it ends below 0.7 times that.
        max_gap_s: a person who was not seen for longer than this is forgotten; a gap adds no time to anything.

    The time between two results counts for what the first of them showed. What is kept of a person does not grow. One
    tracker serves one stream and one thread. Raises InvalidInput for numbers outside their range.
    """

    def __init__(
        self,
        window_s: float = 60.0,
        *,
        yaw_deg: float = 20.0,
        pitch_deg: float = 15.0,
        slack_deg: float = 5.0,
        smile: float = 0.5,
        max_gap_s: float = 1.0,
    ) -> None:
        for name, value, low, high in (
            ("window_s", window_s, 1, 3600),
            ("yaw_deg", yaw_deg, 0, 90),
            ("pitch_deg", pitch_deg, 0, 90),
            ("slack_deg", slack_deg, 0, 90),
            ("smile", smile, 0, 1),
            ("max_gap_s", max_gap_s, 0, 60),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name}: expected a number from {low} to {high}, got {value!r}")
        self.window_s = float(window_s)
        self._yaw_deg, self._pitch_deg, self._slack_deg = yaw_deg, pitch_deg, slack_deg
        self._smile = smile
        self._max_gap_s = max_gap_s
        self._people: dict[int, _Person] = {}
        self._now_s = -math.inf

    def __len__(self) -> int:
        """The number of people who are remembered."""
        return len(self._people)

    def update(self, result: FrameResult) -> list[Activity]:
        """Takes in the next result; returns what is known of everybody in it, by face. A provisional one changes
        nothing and returns nothing.

        Raises InvalidInput where the time does not grow; call `clear` between two streams.
        """
        if result.provisional:
            return []
        now_s = self._now_s = later_s(result, self._now_s, "clear")
        for face_id in [i for i, person in self._people.items() if now_s - person.last_s > self._max_gap_s]:
            del self._people[face_id]
        return [self._see(face, now_s) for face in result.faces]

    def clear(self) -> None:
        """Forgets everybody; the next result may have any time."""
        self._people.clear()
        self._now_s = -math.inf

    def _see(self, face: Face, now_s: float) -> Activity:
        person = self._people.get(face.id)
        if person is None:
            person = self._people[face.id] = _Person(self.window_s, now_s)
        step_s = now_s - person.last_s
        person.last_s = now_s
        person.seen.add(now_s, step_s)
        if person.eyes.closed is not None:
            person.watched.add(now_s, step_s)
        if person.smiling:
            person.smile.add(now_s, step_s)
        if person.facing:
            person.attention.add(now_s, step_s)
            person.attention_total_s += step_s
        if person.eyes.update(face, now_s):
            person.blinks.add(now_s, 1)
        slack_deg = self._slack_deg if person.facing else 0.0
        yaw_deg, pitch_deg = abs(face.pose.yaw_deg), abs(face.pose.pitch_deg)
        person.facing = yaw_deg <= self._yaw_deg + slack_deg and pitch_deg <= self._pitch_deg + slack_deg
        smile = face.au.get("AU12", math.nan)
        if smile == smile:
            person.smiling = smile >= self._smile * (SMILE_ENDS if person.smiling else 1)
        return self._activity(face.id, person, now_s)

    def _activity(self, face_id: int, person: _Person, now_s: float) -> Activity:
        watched_s, blinks = person.watched.total(now_s), round(person.blinks.total(now_s))
        return Activity(
            face=face_id,
            timestamp_s=now_s,
            seen_s=person.seen.total(now_s),
            blinks=blinks,
            blinks_per_minute=60 * blinks / watched_s if watched_s >= ENOUGH_S else None,
            eyes_closed=person.eyes.closed,
            smile_s=None if person.smiling is None else person.smile.total(now_s),
            facing=person.facing,
            attention_s=person.attention.total(now_s),
            attention_total_s=person.attention_total_s,
        )
