"""aunet_sdk: facial Action Units (FACS) from video, in real time.

`import aunet_sdk` needs numpy alone; the names below load what they need when they are first used.
"""

from __future__ import annotations

from ._util.privacy import keep_private

keep_private()  # before anything imports ONNX Runtime

__version__ = "0.1.0"

_HOME = {
    "Detector": "detector",
    "DetectorOptions": "options",
    "Context": "face",
    "Face": "face",
    "Frame": "sources.base",
    "FrameResult": "results",
    "HeadPose": "face",
    "AUNetError": "errors",
    "BackendUnavailable": "errors",
    "BundleMismatch": "errors",
    "EngineMismatch": "errors",
    "InvalidInput": "errors",
    "ModelError": "errors",
    "OutputLost": "errors",
    "SourceLost": "errors",
}

TYPE_CHECKING = False  # typing's own costs milliseconds in which Ctrl-C would print a traceback
if TYPE_CHECKING:
    from typing import Any

    from .detector import Detector
    from .errors import (
        AUNetError,
        BackendUnavailable,
        BundleMismatch,
        EngineMismatch,
        InvalidInput,
        ModelError,
        OutputLost,
        SourceLost,
    )
    from .face import Context, Face, HeadPose
    from .options import DetectorOptions
    from .results import FrameResult
    from .sources.base import Frame

__all__ = [
    "AUNetError",
    "BackendUnavailable",
    "BundleMismatch",
    "Context",
    "Detector",
    "DetectorOptions",
    "EngineMismatch",
    "Face",
    "Frame",
    "FrameResult",
    "HeadPose",
    "InvalidInput",
    "ModelError",
    "OutputLost",
    "SourceLost",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
