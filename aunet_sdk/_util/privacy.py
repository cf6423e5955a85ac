"""Nothing leaves the machine: the libraries that would report home are switched off before they are first imported.

ONNX Runtime 1.32 queues events in ~/.cache/Microsoft and sends them; ORT_DISABLE_TELEMETRY=1 at its import alone stops
both. OpenVINO 2026 sends an event when it is imported, from a forked process, and leaves ~/intel; where its package
openvino_telemetry cannot be imported it takes an empty stand-in of its own. albumentations (training) asks the package
index for news when it is imported.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

TYPE_CHECKING = False  # as in aunet_sdk/__init__.py
if TYPE_CHECKING:
    from typing import Any

__all__ = ["import_openvino", "keep_private", "telemetry"]

_ORT_SWITCH = "ORT_DISABLE_TELEMETRY"
_SWITCHES = {_ORT_SWITCH: "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
_OPENVINO = "openvino_telemetry"

_too_late: set[str] = set()


def keep_private() -> None:
    """Switch reports off for libraries that are not imported yet; what the user set otherwise in the environment stays.

    `import aunet_sdk` calls this. `telemetry` says what came of it.
    """
    if "onnxruntime" in sys.modules and not _is_off():
        _too_late.add("onnxruntime")
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """The openvino module, without its reports. Raises ImportError."""
    before = sys.modules.get(_OPENVINO)
    if "openvino" in sys.modules or before is not None:
        import openvino

        return openvino
    sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # an import of it fails, which OpenVINO provides for
    try:
        import openvino
    finally:
        del sys.modules[_OPENVINO]
    return openvino


def telemetry() -> dict[str, str]:
    """Library -> "off", or "on: why and what to do", for those that would report home."""
    told = {"onnxruntime": "off", "openvino": "off"}
    if "onnxruntime" in _too_late:
        told["onnxruntime"] = (
            f"on: onnxruntime was imported before aunet_sdk; import aunet_sdk first, or start with {_ORT_SWITCH}=1"
        )
    elif not _is_off():
        told["onnxruntime"] = (
            f"on: {_ORT_SWITCH}={os.environ.get(_ORT_SWITCH, '')} in the environment; start with {_ORT_SWITCH}=1"
        )
    if isinstance(sys.modules.get(_OPENVINO), ModuleType):
        told["openvino"] = "on: openvino was imported before aunet_sdk did so; import it after opening the engine"
    return told


def _is_off() -> bool:
    """By the values that ONNX Runtime 1.32 takes for yes."""
    return os.environ.get(_ORT_SWITCH, "").strip().lower() in ("1", "true", "yes", "on")
