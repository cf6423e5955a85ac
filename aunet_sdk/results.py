"""What the detector gives back: FrameResult, with its faces (face.py). Frozen, checked on construction, NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._util.readonly import ReadOnlyDict
from .errors import BackendUnavailable
from .face import LANDMARK_COUNT, Context, Face, HeadPose

__all__ = ["LANDMARK_COUNT", "Context", "Face", "FrameResult", "HeadPose"]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """All faces of one frame. A frame without a face is a result too, with `faces == ()`."""

    index: int
    """the frame's number, from 0"""
    timestamp_s: float
    """the frame's own time on the source's monotonic clock"""
    width: int
    height: int
    faces: tuple[Face, ...] = ()
    """ascending by id"""
    provisional: bool = False
    """True: an early result, the final one of the same index follows (look_ahead="both"); its faces are provisional
    too"""
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """computing time of this frame by stage (decode, find, align, network, points, total); the look-ahead is not in
    it"""
    au_names: tuple[str, ...] = ()
    """names of the n AUs of every face, ascending; those of the first face where none are given"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "faces", tuple(self.faces))
        names = self.au_names or (self.faces[0].au_names if self.faces else ())
        object.__setattr__(self, "au_names", tuple(names))
        object.__setattr__(self, "latency_ms", ReadOnlyDict(dict(self.latency_ms)))

    @property
    def ids(self) -> np.ndarray:
        """(F,) int64: ids of the F faces; like the arrays below in the order of `faces`, and new with every call."""
        return np.array([face.id for face in self.faces], np.int64)

    @property
    def boxes(self) -> np.ndarray:
        """(F, 4) float32: x, y, width, height in px; (0, 4) where there is no face."""
        return np.array([face.box for face in self.faces], np.float32).reshape(-1, 4)

    @property
    def probabilities(self) -> np.ndarray:
        """(F, n) float32: in the order of `au_names`; (0, n) where there is no face."""
        count = len(self.au_names)
        return np.array([face.probabilities for face in self.faces], np.float32).reshape(len(self.faces), count)

    def plot(self, image: np.ndarray) -> np.ndarray:
        """An annotated copy of the frame, see `aunet_sdk.view.draw`.

        Args:
            image: uint8 (H, W, 3) BGR, the frame that this result belongs to.

        Returns uint8 (H, W, 3) BGR. Raises InvalidInput for another shape or dtype.
        """
        from .view.overlay import draw

        return draw(image, self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists, strings and numbers, ready for JSON; a number that is not known (NaN) is None.

        The keys are the names of the fields; those of `aus` in a face are the AUs, each with `probability`, `logit`,
        `threshold`, `active`, `intensity`, `valid` and `why_not`.
        """
        return {
            "index": int(self.index),
            "timestamp_s": float(self.timestamp_s),
            "width": int(self.width),
            "height": int(self.height),
            "provisional": bool(self.provisional),
            "latency_ms": {name: float(ms) for name, ms in self.latency_ms.items()},
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_dataframe(self) -> Any:
        """A pandas.DataFrame with one row per face and the columns of the CSV table (docs/csv.md), `provisional`
        included, and without rows where there is no face. Join those of several frames with `pandas.concat`.

        Raises BackendUnavailable where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise BackendUnavailable(f"to_dataframe: expected pandas, got {error}; pip install pandas") from error
        names = self.au_names
        columns = [*_COLUMNS, *names, *(f"{name}_active" for name in names)]
        rows = [
            [
                *(self.index, self.timestamp_s, face.id, *face.box.tolist(), face.score, str(face.context)),
                *(face.provisional, face.pose.yaw_deg, face.pose.pitch_deg, face.pose.roll_deg),
                *face.probabilities.tolist(),
                *face.active.tolist(),
            ]
            for face in self.faces
        ]
        return pandas.DataFrame(rows, columns=columns)


_COLUMNS = (
    *("frame", "timestamp_s", "face_id", "x", "y", "width", "height", "score", "context"),
    *("provisional", "yaw_deg", "pitch_deg", "roll_deg"),
)
