"""Results of our own making, for sinks and pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aunet_sdk.facs import AU_NAMES
from aunet_sdk.results import Context, Face, FrameResult, HeadPose


def face(
    face_id: int = 1,
    box: Sequence[float] = (40.0, 30.0, 60.0, 80.0),
    probabilities: Sequence[float] | np.ndarray | None = None,
    *,
    au_names: tuple[str, ...] = AU_NAMES,
    context: Context = Context.FULL,
    provisional: bool = False,
) -> Face:
    """A face whose landmarks lie on an ellipse in its box; active from 0.5."""
    values = np.linspace(0.05, 0.95, len(au_names)) if probabilities is None else np.asarray(probabilities)
    turn = np.linspace(0, 2 * np.pi, 68)
    x, y, w, h = box
    points = np.stack([x + w / 2 + 0.4 * w * np.cos(turn), y + h / 2 + 0.4 * h * np.sin(turn)], 1)
    return Face(
        id=face_id,
        box=np.asarray(box),
        score=0.9,
        landmarks=points,
        landmark_confidence=np.full(68, 0.8),
        pose=HeadPose(1.5, -2.25, 3.0),
        au_names=au_names,
        probabilities=values,
        active=values >= 0.5,
        context=context,
        provisional=provisional,
    )


def frame(index: int, *faces: Face, fps: float = 25.0, size: tuple[int, int] = (320, 240)) -> FrameResult:
    """A result at index / fps seconds; size is (width, height)."""
    return FrameResult(index, index / fps, *size, faces=faces)
