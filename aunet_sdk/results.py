"""What the detector gives back: FrameResult, Face, HeadPose and Context. Frozen, checked on construction, NumPy
alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from ._util.readonly import ReadOnlyDict
from .errors import BackendUnavailable, InvalidInput
from .facs import au_name

LANDMARK_COUNT = 68


class Context(str, Enum):
    """Which neighbours in time an estimate has seen (the paper looks at t - T, t and t + T, section IV-C)."""

    FULL = "full"
    """the former and the later frame"""
    PAST = "past"
    """the former frame alone; the frame itself stands in for the later one"""
    FUTURE = "future"
    """the later frame alone"""
    NONE = "none"
    """neither: a single picture, or the very first frame of a face"""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class HeadPose:
    """Orientation of the head against the camera, in degrees.

    yaw_deg > 0: the face turns to the image's right; pitch_deg > 0: up; roll_deg > 0: clockwise in the image.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def _known(values: np.ndarray | None, i: int) -> float | None:
    """One number; None for NaN."""
    return None if values is None or np.isnan(values[i]) else float(values[i])


def _array(name: str, value: object, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """`value` as a read-only array of this shape and dtype; raises InvalidInput."""
    if isinstance(value, np.ndarray) and value.base is None and value.dtype == dtype and not value.flags.writeable:
        array = value  # nobody can change it: shared, such as the thresholds of all faces
    else:
        array = np.array(value, dtype=dtype)
    if array.shape != shape:
        raise InvalidInput(f"{name}: expected an array of shape {shape}, got {array.shape}")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame. All arrays are read-only copies.

    Raises InvalidInput where an array has another shape, or where the AU names do not fit the probabilities.
    """

    id: int
    """stable over the frames of one video or stream, from 1, never used again there"""
    box: np.ndarray
    """(4,) float32: x, y, width, height in pixels of the frame; may reach beyond its border"""
    score: float
    """0..1: is this a face and do the landmarks hold (see Detector)"""
    landmarks: np.ndarray
    """(68, 2) float32: x, y in pixels of the frame, pixel centres at integers, iBUG order"""
    landmark_confidence: np.ndarray
    """(68,) float32 in [0, 1]: the heatmaps' peaks"""
    pose: HeadPose
    au_names: tuple[str, ...]
    """names of the n AUs in ascending order, such as ("AU1", "AU2")"""
    probabilities: np.ndarray
    """(n,) float32 in [0, 1]"""
    active: np.ndarray
    """(n,) bool: probability >= threshold"""
    context: Context = Context.NONE
    provisional: bool = False
    """True: an early estimate without the later frame, a final one follows (look_ahead="both")"""
    logits: np.ndarray | None = None
    """(n,) float32: ln(p / (1 - p)) of the probabilities, not rounded by them; where None is given it is computed"""
    thresholds: np.ndarray | None = None
    """(n,) float32 in [0, 1]: from which probability on an AU is active; NaN where they are not known"""

    def __post_init__(self) -> None:
        names = tuple(self.au_names)
        count = len(names)
        if len(set(names)) != count:
            raise InvalidInput(f"au_names: expected distinct names, got {names}")
        try:
            context = Context(str(getattr(self.context, "value", self.context)))
        except ValueError:
            raise InvalidInput(f"context: expected one of {[c.value for c in Context]}, got {self.context!r}") from None
        for name, value in (
            ("au_names", names),
            ("box", _array("box", self.box, (4,), np.float32)),
            ("landmarks", _array("landmarks", self.landmarks, (LANDMARK_COUNT, 2), np.float32)),
            (
                "landmark_confidence",
                _array("landmark_confidence", self.landmark_confidence, (LANDMARK_COUNT,), np.float32),
            ),
            ("probabilities", _array("probabilities", self.probabilities, (count,), np.float32)),
            ("active", _array("active", self.active, (count,), np.bool_)),
            ("logits", _array("logits", self._known_logits(), (count,), np.float32)),
            ("thresholds", _array("thresholds", self._known_thresholds(count), (count,), np.float32)),
            ("context", context),
            ("id", int(self.id)),
            ("score", float(self.score)),
            ("provisional", bool(self.provisional)),
        ):
            object.__setattr__(self, name, value)

    def _known_logits(self) -> np.ndarray:
        if self.logits is not None:
            return self.logits
        inside = np.clip(np.asarray(self.probabilities, np.float64), 1e-7, 1 - 1e-7)
        return np.log(inside / (1 - inside))

    def _known_thresholds(self, count: int) -> np.ndarray:
        return np.full(count, np.nan) if self.thresholds is None else self.thresholds

    def is_active(self, au: str | int) -> bool:
        """Whether this AU is active, in any spelling: "AU12", "12" or 12. Raises InvalidInput for an AU that is not
        among `au_names`."""
        name = au_name(au)
        if name not in self.au_names:
            raise InvalidInput(f"au: expected one of {', '.join(self.au_names)}, got {name}")
        return bool(self.active[self.au_names.index(name)])

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Of a pickle or a deep copy, whose arrays NumPy makes writeable."""
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """See `FrameResult.to_dict`."""
        return {
            "id": self.id,
            "box": self.box.tolist(),
            "score": self.score,
            "landmarks": self.landmarks.tolist(),
            "landmark_confidence": self.landmark_confidence.tolist(),
            "pose": {
                "yaw_deg": float(self.pose.yaw_deg),
                "pitch_deg": float(self.pose.pitch_deg),
                "roll_deg": float(self.pose.roll_deg),
            },
            "aus": {
                name: {
                    "probability": float(self.probabilities[i]),
                    "logit": _known(self.logits, i),
                    "threshold": _known(self.thresholds, i),
                    "active": bool(self.active[i]),
                }
                for i, name in enumerate(self.au_names)
            },
            "context": str(self.context),
            "provisional": self.provisional,
        }

    @property
    def au(self) -> Mapping[str, float]:
        """Probability by AU name: `face.au["AU12"]`."""
        return ReadOnlyDict({name: float(p) for name, p in zip(self.au_names, self.probabilities, strict=True)})

    @property
    def active_aus(self) -> tuple[str, ...]:
        """Names of the active AUs, ascending."""
        return tuple(name for name, on in zip(self.au_names, self.active, strict=True) if on)


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
        `threshold` and `active`.
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
