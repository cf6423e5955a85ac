"""How a face moves while nobody is in its way, and how far it is from where that leads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .plausibility import size_of

__all__ = ["Motion", "astray", "moved"]

SETTLE_S = 0.3
"""time constant of the speed"""


@dataclass(frozen=True)
class Motion:
    """Where a face was when it last stood free of others."""

    time_s: float
    centre: np.ndarray
    """(2,) px"""
    speed: np.ndarray
    """(2,) px/s, smoothed"""


def moved(before: Motion | None, box: np.ndarray, now_s: float) -> Motion:
    """The motion of a face that stands free in this box (4,) px at this time."""
    centre = box[:2] + box[2:] / 2
    if before is None:
        return Motion(now_s, centre, np.zeros(2))
    step_s = now_s - before.time_s
    if step_s <= 0:
        return before
    change = (centre - before.centre) / step_s - before.speed
    return Motion(now_s, centre, before.speed + (1 - np.exp(-step_s / SETTLE_S)) * change)


def astray(before: Motion | None, box: np.ndarray, now_s: float) -> float:
    """How far a face in this box (4,) px is from where its motion led, in its own size; infinite where it has none."""
    if before is None:
        return float("inf")
    off = box[:2] + box[2:] / 2 - before.centre - before.speed * (now_s - before.time_s)
    return float(np.hypot(*off)) / size_of(box)
