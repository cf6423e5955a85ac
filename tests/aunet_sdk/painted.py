"""Painted faces: coloured squares that a finder and a network of our own making can read off the picture.

The trained network is not needed to test how faces are followed, and its answers could not be set at will. Everything
but the landmarks and the boxes is the real thing: crops, engine, states, neighbours in time, results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from aunet_sdk import Detector, DetectorOptions
from aunet_sdk.detector import EngineFactory, NetworkFactory
from aunet_sdk.engines.base import StepResult
from aunet_sdk.faces.finders.base import FaceFinder, FoundFace
from aunet_sdk.faces.plausibility import box_of, drift_of
from aunet_sdk.pipeline.crop_inference import FaceNetwork, Seen
from aunet_sdk.post.neutral import normalised
from aunet_sdk.profiling import StageTimer

PLAIN = (0, 0, 255)
"""seen by both"""
GHOST = (0, 255, 0)
"""the network takes it for a face, the finder does not"""
WEAK = (255, 0, 0)
"""the finder takes it for a face, the network does not"""
SIZE = (240, 320)


def paint(
    *faces: tuple[float, float, float] | tuple[float, float, float, tuple[int, int, int]],
    background: int = 0,
    size: tuple[int, int] = SIZE,
) -> np.ndarray:
    """A picture with squares (centre x, centre y, side[, colour]) in px on a dark striped background."""
    image = np.full((*size, 3), 20, np.uint8)
    image[:, background % 16 :: 16] = 60
    for x, y, side, *colour in faces:
        x0, y0 = round(x - side / 2), round(y - side / 2)
        square = np.s_[max(0, y0) : max(0, round(y0 + side)), max(0, x0) : max(0, round(x0 + side))]
        image[square] = colour[0] if colour else PLAIN
        image[square][::5] //= np.uint8(1 + background % 2)
    return image


def squares(image: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
    """Boxes (4,) of the squares of these colours."""
    boxes = []
    for colour in colours:
        channel = int(np.argmax(colour))
        mask = (image[..., channel] > 100) & (image[..., channel - 1] < 90) & (image[..., channel - 2] < 90)
        _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        boxes += [row[:4].astype(float) for row in statistics[1:] if row[2:4].min() >= 6]
    return boxes


def face_in(box: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The mean face (68, 3) as landmarks (68, 2) px whose finder's box has the centre and size of `box`."""
    flat = shape[:, :2] * (1.0, -1.0)
    own = box_of(flat)
    scale = (box[2] + box[3]) / (own[2] + own[3])
    return (flat - own[:2] - own[2:] / 2) * scale + box[:2] + box[2:] / 2


class PaintedFinder:
    """FaceFinder for painted faces; counts how often it was asked."""

    name = "painted"

    def __init__(self) -> None:
        self.calls = 0

    def find(self, image: np.ndarray, longer_side_px: int = 320) -> list[FoundFace]:
        self.calls += 1
        return [FoundFace(box, 0.9) for box in squares(image, (PLAIN, WEAK))]


class PaintedNetwork(FaceNetwork):
    """The real network, whose landmarks are replaced by those of the painted face in the crop, if there is one."""

    steps = 0

    def look(self, image, matrices, timer: StageTimer, queries=(), causal=None, states=None, **more):  # type: ignore[no-untyped-def]
        self.steps += 1
        self._image = image
        seen, result = super().look(image, matrices, timer, queries, causal, states, **more)
        return [s if s.normal is None else replace(s, normal=normalised(s.landmarks)) for s in seen], result

    def _decode(self, matrices: Sequence[np.ndarray], result: StepResult) -> list[Seen]:
        real = super()._decode(matrices, result)
        side = self.bundle.resolution
        template = np.asarray(self.bundle.template)
        seen = []
        for matrix, found in zip(matrices, real, strict=True):
            landmarks, confidence = found.landmarks, 0.05
            near = np.inf
            for box in squares(self._image, (PLAIN, GHOST)):
                centre = matrix @ np.append(box[:2] + box[2:] / 2, 1)
                off = np.hypot(*(centre - side / 2)) / side
                if off < min(near, 0.5):
                    near, landmarks, confidence = off, face_in(box, np.asarray(self.bundle.points3d)), 0.9
            crop = landmarks @ matrix[:, :2].T + matrix[:, 2]
            five = np.stack([crop[36:42].mean(0), crop[42:48].mean(0), crop[30], crop[48], crop[54]])
            confidences = np.full(68, confidence, np.float32)
            seen.append(Seen(landmarks, confidences, confidence, drift_of((five + 0.5) / side, template), found.slot))
        return seen


def painted_detector(
    finder: FaceFinder | None = None,
    engine_of: EngineFactory | None = None,
    network_of: NetworkFactory | None = None,
    **options: object,
) -> Detector:
    """A Detector with the default bundle that sees painted faces."""
    return Detector(
        DetectorOptions(threads=1, **options),  # type: ignore[arg-type]
        finder=lambda _: finder or PaintedFinder(),
        engine=engine_of,
        network=network_of or PaintedNetwork,
    )
