"""One-Euro filter for the probabilities of every person (Casiez, Roussel and Vogel, "1 € Filter", CHI 2012).

A low-pass filter whose cutoff grows with the speed of the signal: what stands still is smoothed, what moves is followed
at once. It looks at the past alone, so it works live. Nothing of it is in the paper that this project follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput

__all__ = ["OneEuro"]

_LONGEST_RATE_HZ = 1e6
"""A guard against times that are equal but for rounding."""


@dataclass(frozen=True, eq=False)
class _Person:
    values: NDArray[np.float64]
    """(n,) filtered; NaN where nothing is known yet"""
    speeds: NDArray[np.float64]
    """(n,) filtered, 1/s"""
    raw: NDArray[np.float64]
    """(n,) the last values that came in"""
    seen_s: NDArray[np.float64]
    """(n,) when they came"""
    last_s: float


class OneEuro:
    """Smooths n numbers per person, each for itself, at whatever times they come.

    Args:
        min_cutoff_hz: cutoff for a signal that stands still, above 0. The lower, the calmer.
        beta: by how many Hz the cutoff grows for a speed of 1 per second. The higher, the less a movement lags.
        speed_cutoff_hz: cutoff of the speed itself.
        max_gap_s: where a number was not seen for longer than this, it begins anew.

    The result is always between the smallest and the largest number since the last beginning, and a constant stays what
    it is. The lag of a slow movement is about 1 / (2 pi min_cutoff_hz) s; docs/events.md has figures. People who were
    not seen for `max_gap_s` are forgotten. Raises InvalidInput for numbers outside their range.
    """

    def __init__(
        self, min_cutoff_hz: float = 1.0, beta: float = 2.0, speed_cutoff_hz: float = 1.0, max_gap_s: float = 0.5
    ) -> None:
        self.min_cutoff_hz = _positive("min_cutoff_hz", min_cutoff_hz)
        self.beta = _positive("beta", beta, zero=True)
        self.speed_cutoff_hz = _positive("speed_cutoff_hz", speed_cutoff_hz)
        self.max_gap_s = _positive("max_gap_s", max_gap_s)
        self._people: dict[int, _Person] = {}
        self._now_s = -math.inf

    def __len__(self) -> int:
        """The number of people who are remembered."""
        return len(self._people)

    def update(self, face_id: int, values: ArrayLike, time_s: float) -> NDArray[np.float64]:
        """The filtered numbers (n,) of this person after these, such as `face.probabilities`.

        A NaN in `values` (n,) stays one and leaves the state of its number alone. Give final results alone: a
        provisional one is followed by another of the same time.

        Raises InvalidInput for a time that does not grow, or another n than before.
        """
        given = np.array(values, np.float64)
        if given.ndim != 1 or np.isinf(given).any():
            raise InvalidInput(f"values: expected finite numbers (n,), got the shape {given.shape} or infinity")
        person = self._people.get(face_id)
        if not math.isfinite(time_s) or (person is not None and time_s <= person.last_s):
            before = "finite" if person is None else f"after {person.last_s:g} s"
            raise InvalidInput(f"time_s: expected a time {before}, got {time_s:g} s; call clear() between two streams")
        if person is None:
            blank = np.full(len(given), np.nan)
            person = _Person(blank, np.zeros(len(given)), blank.copy(), np.full(len(given), -np.inf), time_s)
        elif len(person.values) != len(given):
            raise InvalidInput(f"values: expected {len(person.values)} numbers as before, got {len(given)}")
        self._people[face_id] = person = self._step(person, given, time_s)
        self._forget(time_s)
        return np.where(given == given, person.values, np.nan)

    def clear(self) -> None:
        """Forgets everybody."""
        self._people.clear()
        self._now_s = -math.inf

    def snapshot(self) -> Callable[[], None]:
        """What puts everything back to where it is now."""
        people, now_s = self._people.copy(), self._now_s

        def restore() -> None:
            self._people, self._now_s = people, now_s

        return restore

    def _step(self, person: _Person, given: NDArray[np.float64], time_s: float) -> _Person:
        here = given == given
        step_s = time_s - person.seen_s
        goes_on = here & (step_s <= self.max_gap_s)
        begins = here & ~goes_on
        rates_hz = 1 / np.maximum(step_s[goes_on], 1 / _LONGEST_RATE_HZ)
        raw_speeds = (given - person.raw)[goes_on] * rates_hz
        speeds = person.speeds[goes_on]
        speeds += _weight(self.speed_cutoff_hz, rates_hz) * (raw_speeds - speeds)
        cutoffs_hz = self.min_cutoff_hz + self.beta * np.abs(speeds)
        known = person.values[goes_on]
        known += _weight(cutoffs_hz, rates_hz) * (given[goes_on] - known)
        values, all_speeds = person.values.copy(), person.speeds.copy()
        values[goes_on], all_speeds[goes_on] = known, speeds
        values[begins], all_speeds[begins] = given[begins], 0.0
        raw, seen_s = np.where(here, given, person.raw), np.where(here, time_s, person.seen_s)
        return _Person(values, all_speeds, raw, seen_s, time_s)

    def _forget(self, time_s: float) -> None:
        if time_s > self._now_s:
            self._now_s = time_s
            gone = [i for i, person in self._people.items() if time_s - person.last_s > self.max_gap_s]
            for face_id in gone:
                del self._people[face_id]


def _weight(cutoff_hz: float | NDArray[np.float64], rate_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the new value in a low-pass filter of first order at this rate, above 0 and below 1."""
    turn = 2 * np.pi * cutoff_hz
    weight: NDArray[np.float64] = turn / (turn + rate_hz)
    return weight


def _positive(name: str, value: float, zero: bool = False) -> float:
    allowed = isinstance(value, Real) and not isinstance(value, bool) and (value > 0 or (zero and value == 0))
    if not allowed or not math.isfinite(value):
        raise InvalidInput(f"{name}: expected a finite number {'of 0 or more' if zero else 'above 0'}, got {value!r}")
    return float(value)
