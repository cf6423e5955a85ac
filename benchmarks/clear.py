"""Frames on which MediaPipe is sure: how many of those with an AU are found, how many of those without stay calm.

A correlation within a clip hides where the threshold lies; this does not. MediaPipe is a tool, too, and its browDown
fires on smiles: AU4 is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

CLEAR = {"AU1": (0.1, 0.35), "AU2": (0.12, 0.35), "AU12": (0.1, 0.5), "AU26": (0.05, 0.3)}
"""AU -> MediaPipe's value up to which it is off, and from which it is on (agreement.CHANNELS)."""


def clear_counts(
    active: np.ndarray, names: Sequence[str], channels: Mapping[str, np.ndarray]
) -> dict[str, dict[str, int]]:
    """Per AU `on`, `found`, `off`, `calm` frames.

    Args:
        active: (m, k) bool.  names: k.  channels: MediaPipe's value per AU, (m,) each; NaN counts as neither.
    """
    counts = {}
    for au, (low, high) in CLEAR.items():
        if au not in names or au not in channels:
            continue
        said, value = active[:, list(names).index(au)], channels[au]
        on, off = value >= high, value <= low  # NaN compares False
        counts[au] = {
            "on": int(on.sum()),
            "found": int((said & on).sum()),
            "off": int(off.sum()),
            "calm": int((~said & off).sum()),
        }
    return counts


def summed(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, float | int | None]]:
    """The counts of several clips together: `on` and `off` frames, `found` and `calm` as shares of them, None of
    none."""
    total: dict[str, dict[str, int]] = {}
    for one in counts:
        for au, values in one.items():
            row = total.setdefault(au, dict.fromkeys(values, 0))
            for name, value in values.items():
                row[name] += value
    return {
        au: {
            "on": row["on"],
            "found": round(row["found"] / row["on"], 3) if row["on"] else None,
            "off": row["off"],
            "calm": round(row["calm"] / row["off"], 3) if row["off"] else None,
        }
        for au, row in total.items()
    }
