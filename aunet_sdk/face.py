"""One face in one frame: Face, HeadPose and Context. Frozen, checked on construction, NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from ._util.readonly import ReadOnlyDict, read_only_array
from .errors import InvalidInput
from .facs import au_name

__all__ = ["LANDMARK_COUNT", "Context", "Face", "HeadPose"]

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


def _context(value: object) -> Context:
    try:
        return Context(str(getattr(value, "value", value)))
    except ValueError:
        raise InvalidInput(f"context: expected one of {[c.value for c in Context]}, got {value!r}") from None


def _known(values: np.ndarray | None, i: int) -> float | None:
    """One number; None for NaN."""
    return None if values is None or np.isnan(values[i]) else float(values[i])


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
    intensities: np.ndarray | None = None
    """(n,) float32 in [0, 1]: how strong each AU is, A to E of the FACS manual as fifths; None where the model does not
    tell. `intensity` has them by name"""
    reasons: tuple[str | None, ...] | None = None
    """n of them: why each AU cannot be seen (`aunet_sdk.post.validity.Reason`), None for one that can; None as a whole
    where nobody looked. `valid` and `why_not` have them by name"""

    def __post_init__(self) -> None:
        names = tuple(self.au_names)
        count = len(names)
        if len(set(names)) != count:
            raise InvalidInput(f"au_names: expected distinct names, got {names}")
        context = self.context
        if not isinstance(context, Context):
            context = _context(context)
        for name, value in (
            ("au_names", names),
            ("box", read_only_array("box", self.box, (4,), np.float32)),
            ("landmarks", read_only_array("landmarks", self.landmarks, (LANDMARK_COUNT, 2), np.float32)),
            (
                "landmark_confidence",
                read_only_array("landmark_confidence", self.landmark_confidence, (LANDMARK_COUNT,), np.float32),
            ),
            ("probabilities", read_only_array("probabilities", self.probabilities, (count,), np.float32)),
            ("active", read_only_array("active", self.active, (count,), np.bool_)),
            ("logits", read_only_array("logits", self._known_logits(), (count,), np.float32)),
            ("thresholds", read_only_array("thresholds", self._known_thresholds(count), (count,), np.float32)),
            ("context", context),
            (
                "intensities",
                None
                if self.intensities is None
                else read_only_array("intensities", self.intensities, (count,), np.float32),
            ),
            ("reasons", self._known_reasons(count)),
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

    def _known_reasons(self, count: int) -> tuple[str | None, ...] | None:
        if self.reasons is None:
            return None
        reasons = tuple(None if reason is None else str(reason) for reason in self.reasons)
        if len(reasons) != count:
            raise InvalidInput(f"reasons: expected {count}, one per AU, got {len(reasons)}")
        return reasons

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
                    "intensity": _known(self.intensities, i),
                    "valid": self.valid[name],
                    "why_not": self.why_not[name],
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
    def intensity(self) -> Mapping[str, float | None]:
        """How strong each AU is, 0 to 1, by name: `face.intensity["AU12"]`. None: the model does not tell."""
        return ReadOnlyDict({name: _known(self.intensities, i) for i, name in enumerate(self.au_names)})

    @property
    def valid(self) -> Mapping[str, bool | None]:
        """Whether each AU can be seen, by name: `face.valid["AU12"]`. None: nobody looked (validity=False)."""
        if self.reasons is None:
            return ReadOnlyDict(dict.fromkeys(self.au_names))
        return ReadOnlyDict({name: why is None for name, why in zip(self.au_names, self.reasons, strict=True)})

    @property
    def why_not(self) -> Mapping[str, str | None]:
        """Why each AU cannot be seen, such as "covered", by name; None where it can, or where nobody looked."""
        return ReadOnlyDict(dict(zip(self.au_names, self.reasons or (None,) * len(self.au_names), strict=True)))

    @property
    def active_aus(self) -> tuple[str, ...]:
        """Names of the active AUs, ascending."""
        return tuple(name for name, on in zip(self.au_names, self.active, strict=True) if on)
