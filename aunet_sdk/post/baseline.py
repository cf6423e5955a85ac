"""What a face's AUs read at rest, learned while it is watched, and by how much they are lowered for it.

A mouth that hangs slightly open, or brows that are set low, read as AUs all the time. For every face and AU the logits
of the last minute or so are kept as a histogram that fades; its lower quantile stands for the resting face. Where that
comes close to the threshold, the logits of this face are lowered, by so much that its resting face is well below.
OpenFace subtracts a running median in the same spirit (Baltrusaitis et al., "Cross-dataset learning and person-specific
normalisation for automatic Action Unit detection", FG 2015). Nothing of it is in the paper that this project follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RestingFaces"]

FADE_S = 60.0
"""Time after which a frame counts 1/e."""
QUANTILE = 0.2
"""An AU that is shown for more than 1 - QUANTILE of that time is taken for the face at rest."""
ENOUGH_S = 10.0
"""A face that was watched for a shorter time is lowered in proportion."""
MARGIN = 1.5
"""Logits by which the resting face shall stay below the threshold: probability .18 where the threshold is .5."""
MOST = 3.0
"""Logits that nothing is lowered beyond, so that a long strong smile is still one."""
LONGEST_STEP_S = 0.5
"""A gap in time counts as no more than this."""
FORGET_S = 300.0
"""A face that is away for longer is forgotten."""

_LOW, _BIN, _BINS = -8.0, 0.25, 64


@dataclass(eq=False)
class _Watched:
    seconds: NDArray[np.float64]
    """(n, _BINS): how long the logits were there, faded"""
    last_s: float


class RestingFaces:
    """Learns from every face by its id.

    Args:
        thresholds: (n,) probabilities from which on the AUs are active.
    """

    def __init__(self, thresholds: ArrayLike) -> None:
        limits = np.clip(np.asarray(thresholds, np.float64), 1e-3, 1 - 1e-3)
        self._wanted = np.log(limits / (1 - limits)) - MARGIN
        self._faces: dict[int, _Watched] = {}

    def __len__(self) -> int:
        """Faces that are remembered."""
        return len(self._faces)

    def lowering(self, face_id: int, logits: NDArray[np.float64], time_s: float, learn: bool = True) -> np.ndarray:
        """(n,) in [0, MOST]: what to take off the logits (n,) of this face; it learns from them where `learn` is set.

        `time_s` of a face must not go back.
        """
        face = self._faces.get(face_id)
        if face is None:
            face = _Watched(np.zeros((len(self._wanted), _BINS)), time_s)
            if learn:
                self._forget(time_s)
                self._faces[face_id] = face
        if learn:
            step_s = min(time_s - face.last_s, LONGEST_STEP_S)
            face.last_s = time_s
            face.seconds *= np.exp(-step_s / FADE_S)
            at = np.clip((logits - _LOW) / _BIN, 0, _BINS - 1).astype(np.int64)
            face.seconds[np.arange(len(at)), at] += step_s
        share = face.seconds.cumsum(1)
        watched_s = share[:, -1]
        rest = _LOW + _BIN * (0.5 + (share < QUANTILE * watched_s[:, None]).sum(1))
        lowered: np.ndarray = np.clip(rest - self._wanted, 0, MOST) * np.minimum(watched_s / ENOUGH_S, 1)
        return lowered

    def _forget(self, now_s: float) -> None:
        for face_id in [i for i, face in self._faces.items() if now_s - face.last_s > FORGET_S]:
            del self._faces[face_id]
