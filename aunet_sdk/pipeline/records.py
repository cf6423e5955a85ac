"""What is kept of a frame, without its picture, until it was due and is no longer a neighbour of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..engines.base import Slot
from ..post.validity import Reason, Region
from ..results import Context, HeadPose


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """What the network said about one face of one frame."""

    logits: np.ndarray
    """(bundle.answers,) float32: of all AUs of the bundle, and behind them their intensities where it has them"""
    context: Context
    """the neighbours that it has seen"""


@dataclass(eq=False, slots=True)
class FaceRecord:
    """One face of one frame."""

    slot: Slot
    box: np.ndarray
    score: float
    landmarks: np.ndarray
    confidences: np.ndarray
    pose: HeadPose
    hidden: Mapping[Region, Reason | None] | None = None
    """why the AUs of each region cannot be seen; None: nobody looked"""
    early: Answer | None = None
    """without the later frame, where that was asked for"""
    normal: np.ndarray | None = None
    """(68, 2) float32 normalised points, where this frame is a sample for the face at rest"""


@dataclass(eq=False, slots=True)
class FrameRecord:
    """One frame; faces by id."""

    index: int
    timestamp_s: float
    width: int
    height: int
    faces: dict[int, FaceRecord] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    def slots(self) -> dict[int, Slot]:
        """Of the faces, by id."""
        return {face_id: face.slot for face_id, face in self.faces.items()}
