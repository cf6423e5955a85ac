"""One pass of the network over the faces of one frame: crops in, landmarks in frame pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import alignment, heatmap
from .engines.base import Query, Slot, StepResult, StreamEngine
from .errors import InvalidInput
from .faces.finder import FoundFace
from .faces.geometry import Drift, drift_of
from .profiling import StageTimer


@dataclass(frozen=True, eq=False)
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


class FaceNetwork:
    """Crops and the engine, with the bundle's geometry. Not for several threads at once."""

    def __init__(self, engine: StreamEngine) -> None:
        self.engine = engine
        self.bundle = engine.bundle
        self._template = np.asarray(self.bundle.template, np.float64)
        self._template_px = self._template * self.bundle.resolution - 0.5
        shape = (engine.max_faces, 68)
        self._decoded = np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)

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
        return alignment.similarity(alignment.five_points(landmarks), self._template_px)

    def look(
        self,
        image: np.ndarray,
        matrices: Sequence[np.ndarray],
        timer: StageTimer,
        queries: Sequence[Query | None] = (),
        causal: Sequence[Slot | None] | None = None,
    ) -> tuple[list[Seen], StepResult]:
        """Cut one crop per matrix out of the frame (uint8 (H, W, 3) BGR), run one step of the engine, decode the
        points."""
        with timer.stage("align"):
            for crop, matrix in zip(self.engine.crops, matrices, strict=False):
                alignment.warp_crop(*alignment.reduce_for_crop(image, matrix, self.bundle.resolution), crop)
        with timer.stage("network"):
            result = self.engine.step(len(matrices), queries, causal)
        with timer.stage("points"):
            seen = self._decode(matrices, result)
        return seen, result

    def _decode(self, matrices: Sequence[np.ndarray], result: StepResult) -> list[Seen]:
        count, side = len(matrices), self.bundle.resolution
        points, confidences = heatmap.decode(result.heatmaps, out=(self._decoded[0][:count], self._decoded[1][:count]))
        seen = []
        for i, matrix in enumerate(matrices):
            five = (alignment.five_points(points[i]) + 0.5) / side
            seen.append(
                Seen(
                    landmarks=alignment.transform(alignment.invert(matrix), points[i]),
                    confidences=confidences[i].copy(),
                    confidence=float(confidences[i].mean()),
                    drift=drift_of(five, self._template),
                    slot=result.slots[i],
                )
            )
        return seen
