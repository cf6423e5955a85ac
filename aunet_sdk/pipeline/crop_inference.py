"""One pass of the network over the faces of one frame: crops in, landmarks in frame pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import _native
from ..engines.base import Query, Slot, StepResult, StreamEngine, StreamStates
from ..errors import InvalidInput
from ..faces.finders.base import FoundFace
from ..faces.plausibility import Drift, drift_of
from ..geometry import crop as alignment
from ..geometry import heatmap
from ..post.neutral import normalised
from .stage_timer import StageTimer

_kernel = _native.load("geometry")


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What one crop showed."""

    landmarks: np.ndarray
    """(68, 2) float64 px of the frame"""
    confidences: np.ndarray
    """(68,) float32, 0..1"""
    confidence: float
    """their mean"""
    drift: Drift
    """of the five points in this crop"""
    slot: Slot
    """where the engine keeps this face's state"""
    normal: np.ndarray | None = None
    """(68, 2) float32: the points in tenths of the eye distance (post/neutral.py), where they were asked for"""


class FaceNetwork:
    """Crops and the engine, with the bundle's geometry. Not for several threads at once."""

    def __init__(self, engine: StreamEngine) -> None:
        self.engine = engine
        self.bundle = engine.bundle
        self._template = np.asarray(self.bundle.template, np.float64)
        self._template_px = self._template * self.bundle.resolution - 0.5
        shape = (engine.max_faces, 68)
        self._reduced = alignment.reduction_buffer(self.bundle.resolution)
        self._decoded = np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
        cells = self.bundle.resolution // 4 if self.bundle.reference else 0
        self._scratch = np.empty((68, cells, cells), np.float32)

    def found_matrix(self, face: FoundFace) -> np.ndarray:
        """The crop (2, 3) for what a finder saw: by its five points where it has them, else around its box."""
        if face.points is not None:
            try:
                return alignment.similarity(face.points, self._template_px)
            except InvalidInput:
                pass  # the points coincide: the box is left
        return alignment.box_to_matrix(face.box, self.bundle.crop_scale, self.bundle.resolution)

    def canonical_matrix(self, landmarks: np.ndarray) -> np.ndarray:
        """The canonical crop (2, 3) by landmarks (68, 2) px."""
        return alignment.canonical_matrix(landmarks, self._template_px)

    def look(
        self,
        image: np.ndarray,
        matrices: Sequence[np.ndarray],
        timer: StageTimer,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
        states: StreamStates | None = None,
        references: Sequence[np.ndarray | None] | None = None,
        sampled: Sequence[bool] = (),
    ) -> tuple[list[Seen], StepResult]:
        """Cut one crop per matrix out of the frame (uint8 (H, W, 3) BGR), run one step of the engine, decode the
        points; of the crops that are `sampled` the normalised ones, too."""
        with timer.stage("align"):
            side = self.bundle.resolution
            for crop, matrix in zip(self.engine.crops, matrices, strict=False):
                alignment.warp_crop(*alignment.reduce_for_crop(image, matrix, side, self._reduced), crop)
        with timer.stage("network"):
            given = {} if references is None else {"references": references}  # engines of one's own may know none
            result = self.engine.step(len(matrices), queries, causal, states, **given)
        copies = getattr(self.engine, "copy_ms", None)  # (in, out) of the last step, where the engine can tell
        if copies is not None:
            timer.add_copies(*copies)
        with timer.stage("points"):
            seen = self._decode(matrices, result)
            for i in [i for i, wanted in enumerate(sampled) if wanted]:
                seen[i] = replace(seen[i], normal=normalised(heatmap.pooled_points(result.heatmaps[i], self._scratch)))
        return seen, result

    def _decode(self, matrices: Sequence[np.ndarray], result: StepResult) -> list[Seen]:
        count, side = len(matrices), self.bundle.resolution
        points, confidences = heatmap.decode(result.heatmaps, out=(self._decoded[0][:count], self._decoded[1][:count]))
        seen = []
        for i, matrix in enumerate(matrices):
            landmarks, confidence, drift = _place(points[i], confidences[i], matrix, side, self._template)
            own = confidences[i].copy()
            own.flags.writeable = False  # so that Face shares it
            seen.append(Seen(landmarks, own, confidence, drift, result.slots[i]))
        return seen


def _place(
    points: np.ndarray, confidences: np.ndarray, matrix: np.ndarray, side: int, template: np.ndarray
) -> tuple[np.ndarray, float, Drift]:
    """Landmarks (68, 2) float64 in frame pixels, mean confidence and drift of points (68, 2) float32 in pixels of a
    crop of this side; `matrix` maps frame to crop."""
    if _kernel is not None:
        landmarks = np.empty((68, 2))
        facts = _kernel.place(points, confidences, np.ascontiguousarray(matrix), side, template, landmarks)
        if facts is not None:
            return landmarks, facts[0], Drift(*facts[1:])
    return _place_reference(points, confidences, matrix, side, template)


def _place_reference(
    points: np.ndarray, confidences: np.ndarray, matrix: np.ndarray, side: int, template: np.ndarray
) -> tuple[np.ndarray, float, Drift]:
    """`_place` in NumPy: what the kernel is held to."""
    landmarks = alignment.transform(alignment.invert(matrix), points)
    drift = drift_of((alignment.five_points(points) + 0.5) / side, template)
    return landmarks, float(confidences.mean()), drift
