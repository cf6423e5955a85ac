"""YuNet, through OpenCV's FaceDetectorYN: boxes and five points; needs its .onnx file."""

from __future__ import annotations

import os

import numpy as np

from ..._util.cv2 import quiet_cv2
from ..._util.files import existing_file
from ...errors import BackendUnavailable, InvalidInput
from .base import LONGER_SIDE_PX, MIN_CONFIDENCE, FoundFace, Shrinker

NMS_THRESHOLD = 0.3
TOP_K = 1000
MIN_SIDE_PX = 16
"""OpenCV refuses a smaller picture"""


class YuNetFinder:
    """Boxes and points by YuNet.

    Raises InvalidInput where the file is missing or no YuNet, BackendUnavailable where this OpenCV has no
    FaceDetectorYN.
    """

    name = "yunet"

    def __init__(self, model: str | os.PathLike[str], min_confidence: float = MIN_CONFIDENCE) -> None:
        file = existing_file(model, "finder yunet")
        self._shrink = Shrinker()
        self._size = (LONGER_SIDE_PX, LONGER_SIDE_PX)
        with quiet_cv2() as cv2:
            if not hasattr(cv2, "FaceDetectorYN"):
                raise BackendUnavailable(
                    f"finder yunet: OpenCV {cv2.__version__} has no FaceDetectorYN; 4.5.4 brought it"
                )
            try:
                self._detector = cv2.FaceDetectorYN.create(
                    str(file), "", self._size, min_confidence, NMS_THRESHOLD, TOP_K
                )
                self._detector.detect(np.zeros((self._size[1], self._size[0], 3), np.uint8))
            except cv2.error as error:
                raise InvalidInput(f"finder yunet: {file} is no YuNet model: {error.err}") from error

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """See FaceFinder."""
        small, factor_x, factor_y = self._shrink(image, longer_side_px)
        size = small.shape[1::-1]
        if min(size) < MIN_SIDE_PX:
            return []
        if size != self._size:
            self._detector.setInputSize(size)
            self._size = size
        _, rows = self._detector.detect(small)
        back = np.array([factor_x, factor_y])
        found = []
        for row in [] if rows is None else np.asarray(rows, np.float64):
            if not np.isfinite(row).all() or min(row[2:4]) <= 0:
                continue
            box = row[:4] * np.tile(back, 2)
            # Points are pixel centres, half a small pixel in; the box's corners are not.
            points = (row[4:14].reshape(5, 2) + 0.5) * back - 0.5
            found.append(FoundFace(box, float(row[14]), points))
        return sorted(found, key=lambda face: -face.score)
