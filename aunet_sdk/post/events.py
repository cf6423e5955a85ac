"""Onset, apex and offset of every AU of every person (section II-C of the paper), from final results.

An event begins where an AU's probability reaches its threshold and ends where it falls below a lower level
(hysteresis), so that a probability that trembles around the threshold makes one event. What is shorter than
`min_duration_s` makes no event. docs/events.md explains the words, the defaults and what they cost in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from numbers import Real
from typing import Any

from ..errors import InvalidInput
from ..facs import au_name, parse_au
from ..results import FrameResult
from .order import later_s

__all__ = ["AUEvent", "EventTracker", "Phase", "RunningEvent", "events"]

_ROUNDING_S = 1e-6
"""Differences of times that are equal but for this much count as equal."""


class Phase(str, Enum):
    """Which moment of an event is reported."""

    ONSET = "onset"
    """the probability reached the threshold"""
    APEX = "apex"
    """the probability was at its largest, for the first time"""
    OFFSET = "offset"
    """the probability fell below the lower level"""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class AUEvent:
    """One moment of one event. Every event has exactly one of each phase, in the order onset, apex, offset."""

    phase: Phase
    au: str
    """name of the AU, such as "AU12\""""
    face: int
    """id of the face"""
    timestamp_s: float
    """when it happened, on the clock of the results; it is reported later than that, see docs/events.md"""
    peak: float
    """the largest probability from the onset up to the moment of the report, 0 to 1"""
    duration_s: float
    """seconds from the onset to `timestamp_s`: 0 for an onset, the whole length for an offset"""
    cut: bool = False
    """True for the apex and offset of an event that did not end by itself: the AU was no longer seen, or the stream
    ended"""

    @property
    def onset_s(self) -> float:
        """When the event began that this moment belongs to."""
        return self.timestamp_s - self.duration_s


@dataclass(frozen=True)
class RunningEvent:
    """An event whose onset was reported and whose offset was not."""

    au: str
    face: int
    onset_s: float
    peak: float
    """the largest probability so far"""


@dataclass(eq=False)
class _Course:
    """One AU of one person, from the moment at which it reached its threshold."""

    onset_s: float
    peak: float
    peak_s: float
    seen_s: float
    """the last moment at which the AU was seen, at whatever level"""
    confirmed: bool = False
    """whether the onset was reported"""
    fell_s: float | None = None
    """since when it is below the lower level"""


class EventTracker:
    """Turns final results into events, for any number of people.

    Args:
        thresholds: the probability at which an event begins, one number for all AUs or some by AU name. Where none is
            given it is that of the results (`Face.thresholds`, hence the detector's), or 0.5 where they have none.
        release: how far the probability has to fall below the threshold for the event to end, as a share of the
            threshold, from 0 to 1. With 0.3 and a threshold of 0.5 the lower level is 0.35.
        min_duration_s: an AU that falls below its lower level earlier than this after its onset has no event.
        min_pause_s: an event ends only where the AU stays below the lower level for so long.
        max_gap_s: where an AU is not seen for longer than this, its event ends at the last moment at which it was seen.
            An AU is not seen where the person is lost, where `update` says that it is not valid, and where its
            probability is NaN.
        on_event: is called with every event, in order, after the tracker has taken in the result. What it raises
            reaches the caller of `update` or `flush`; the events after it in that result are not reported again.

    The tracker keeps a few numbers per active AU of every person who was seen within `max_gap_s`, and nothing else. One
    tracker serves one stream and one thread. Raises InvalidInput for numbers outside their range.
    """

    def __init__(
        self,
        thresholds: float | Mapping[str, float] | None = None,
        *,
        release: float = 0.3,
        min_duration_s: float = 0.2,
        min_pause_s: float = 0.2,
        max_gap_s: float = 0.5,
        on_event: Callable[[AUEvent], object] | None = None,
    ) -> None:
        self._threshold: float | None = None
        self._thresholds: dict[str, float] = {}
        if isinstance(thresholds, Mapping):
            self._thresholds = {au_name(k): _number(f"thresholds[{k!r}]", v, 1) for k, v in thresholds.items()}
        elif thresholds is not None:
            self._threshold = _number("thresholds", thresholds, 1)
        self._keep = 1 - _number("release", release, 1)
        self._min_duration_s = _number("min_duration_s", min_duration_s, 60) - _ROUNDING_S
        self._min_pause_s = _number("min_pause_s", min_pause_s, 60) - _ROUNDING_S
        self._max_gap_s = _number("max_gap_s", max_gap_s, 60) + _ROUNDING_S
        self._on_event = on_event
        self._people: dict[int, dict[str, _Course]] = {}
        self._now_s = -math.inf

    def __len__(self) -> int:
        """The number of people about whom something is kept."""
        return len(self._people)

    @property
    def running(self) -> tuple[RunningEvent, ...]:
        """The events between their reported onset and their offset, by face and AU."""
        return tuple(
            RunningEvent(au, face_id, course.onset_s, course.peak)
            for face_id, courses in sorted(self._people.items())
            for au, course in sorted(courses.items(), key=lambda item: parse_au(item[0]))
            if course.confirmed
        )

    def update(self, result: FrameResult, valid: Mapping[int, Mapping[str, bool]] | None = None) -> list[AUEvent]:
        """Takes in the next result and returns the events that are certain now. A provisional result changes nothing.

        `valid`: by face id and AU name, whether the AU can be seen in this frame; None: as `Face.valid` says. An AU of
        which nobody says so is taken for valid.

        Raises InvalidInput where the time does not grow; call `flush` between two streams.
        """
        if result.provisional:
            return []
        self._now_s = later_s(result, self._now_s, "flush")
        events: list[AUEvent] = []
        for face in result.faces:
            courses = self._people.setdefault(face.id, {})
            seen = face.valid if valid is None else valid.get(face.id, {})
            thresholds = face.thresholds if face.thresholds is not None else face.probabilities * math.nan
            for au, value, own in zip(face.au_names, face.probabilities.tolist(), thresholds.tolist(), strict=True):
                if value == value and seen.get(au) is not False:
                    events += self._see(face.id, courses, au, value, self._threshold_of(au, own))
        for face_id in list(self._people):
            courses = self._people[face_id]
            for au in list(courses):
                events += self._lose(face_id, courses, au)
            if not courses:
                del self._people[face_id]
        return self._report(events)

    def flush(self) -> list[AUEvent]:
        """Ends the stream: returns the apex and offset of the events that still run. The next result may begin a new
        stream, with any time."""
        events = [
            event
            for face_id, courses in self._people.items()
            for au, course in courses.items()
            for event in _end(face_id, au, course)
        ]
        self._people.clear()
        self._now_s = -math.inf
        return self._report(events)

    def events(self, results: Iterable[FrameResult]) -> Iterator[AUEvent]:
        """The events of a whole stream as they become certain, `flush` at its end included.

        Where `results` raises, Ctrl-C included, the events that still run are reported first, and then the error.
        """
        error: BaseException | None = None
        coming = iter(results)
        while True:
            try:
                result = next(coming, None)
            except BaseException as caught:
                error, result = caught, None
            if result is None:
                break
            yield from self.update(result)
        yield from self.flush()
        if error is not None:
            raise error

    def _threshold_of(self, au: str, own: float) -> float:
        """own: the face's, or NaN."""
        given = self._thresholds.get(au, self._threshold)
        return given if given is not None else own if own == own else 0.5

    def _see(self, face_id: int, courses: dict[str, _Course], au: str, value: float, threshold: float) -> list[AUEvent]:
        """One probability of one AU at the present time."""
        now_s = self._now_s
        events = self._lose(face_id, courses, au)
        course = courses.get(au)
        if course is None:
            if value < threshold:
                return events
            course = courses[au] = _Course(now_s, value, now_s, now_s)
        course.seen_s = now_s
        if value >= threshold * self._keep:
            course.fell_s = None
            if value > course.peak:
                course.peak, course.peak_s = value, now_s
            if not course.confirmed and now_s - course.onset_s >= self._min_duration_s:
                course.confirmed = True
                events.append(AUEvent(Phase.ONSET, au, face_id, course.onset_s, course.peak, 0.0))
            return events
        if course.fell_s is None:
            course.fell_s = now_s
        if not course.confirmed or now_s - course.fell_s >= self._min_pause_s:
            del courses[au]
            events += _end(face_id, au, course)
        return events

    def _lose(self, face_id: int, courses: dict[str, _Course], au: str) -> list[AUEvent]:
        """The end of an event whose AU was not seen for too long."""
        course = courses.get(au)
        if course is None or self._now_s - course.seen_s <= self._max_gap_s:
            return []
        del courses[au]
        return _end(face_id, au, course)

    def _report(self, events: list[AUEvent]) -> list[AUEvent]:
        if self._on_event is not None:
            for event in events:
                self._on_event(event)
        return events


def events(results: Iterable[FrameResult], **options: Any) -> Iterator[AUEvent]:
    """The events of a stream of results, such as `detector.detect_video("clip.mp4")`, as they become certain.

    `options`: those of EventTracker. Raises InvalidInput at once for a wrong one.
    """
    return EventTracker(**options).events(results)


def _end(face_id: int, au: str, course: _Course) -> list[AUEvent]:
    if not course.confirmed:
        return []
    cut = course.fell_s is None
    end_s = course.seen_s if course.fell_s is None else course.fell_s
    rise_s, length_s = course.peak_s - course.onset_s, end_s - course.onset_s
    return [
        AUEvent(Phase.APEX, au, face_id, course.peak_s, course.peak, rise_s, cut),
        AUEvent(Phase.OFFSET, au, face_id, end_s, course.peak, length_s, cut),
    ]


def _number(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= most:
        raise InvalidInput(f"{name}: expected a number from 0 to {most:g}, got {value!r}")
    return float(value)
