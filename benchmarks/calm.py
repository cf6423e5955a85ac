"""False activations on the calm stretches of a clip, as MediaPipe sees it: what a face at rest is said to do.

Calm is a frame where none of MediaPipe's channels is more than a little above the clip's own rest (its 10th
percentile: brows and lids rest at other values in other people) and the mouth is closed and does not smile; a stretch
of calm frames counts from LEAST_S on. This is rest in the eyes of a tool, and only in what that tool has a channel for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ABOVE_REST = 0.1
"""How far a blendshape may be above the clip's rest."""
CEILINGS = {"AU12": 0.2, "AU25": 0.03, "AU26": 0.2}
"""Never calm above these, wherever the clip's rest is; AU25: gap of the lips over the distance of the eye corners."""
LEAST_S = 0.5


def calm_frames(channels: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) bool.

    Args:
        channels: MediaPipe's value per AU, (n,) each; NaN is not calm.
    """
    calm = np.ones(len(next(iter(channels.values()))), bool)
    for name, values in channels.items():
        if not np.isfinite(values).any():
            return np.zeros_like(calm)
        limit = np.nanpercentile(values, 10) + (CEILINGS[name] if name == "AU25" else ABOVE_REST)
        calm &= values <= min(limit, CEILINGS.get(name, np.inf))  # NaN compares False
    return calm


def stretches(calm: np.ndarray, timestamps_s: np.ndarray) -> list[slice]:
    """Runs of calm frames that last LEAST_S."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], calm.astype(np.int8), [0]))))
    runs = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [run for run in runs if timestamps_s[run.stop - 1] - timestamps_s[run.start] >= LEAST_S]


def false_activations(
    active: np.ndarray, names: Sequence[str], calm: np.ndarray, timestamps_s: np.ndarray
) -> dict[str, object]:
    """How often and how long each AU is active while the face is calm.

    Args:
        active: (n, k) bool.  names: k.  calm: (n,) bool.  timestamps_s: (n,).

    Returns:
        `calm_s`; `onsets` per AU (a stretch that begins active counts as one); `active_s` per AU.
    """
    total, onsets, seconds = 0.0, np.zeros(len(names), int), np.zeros(len(names))
    step = float(np.median(np.diff(timestamps_s))) if len(timestamps_s) > 1 else 0.0
    for run in stretches(calm, timestamps_s):
        inside = active[run].astype(np.int8)
        total += len(inside) * step
        onsets += inside[0] + (np.diff(inside, axis=0) == 1).sum(0)
        seconds += inside.sum(0) * step
    return {
        "calm_s": total,
        "onsets": dict(zip(names, onsets.tolist(), strict=True)),
        "active_s": dict(zip(names, seconds.tolist(), strict=True)),
    }
