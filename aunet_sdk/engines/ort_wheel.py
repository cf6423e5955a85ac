"""Which ONNX Runtime is installed: its two wheels write into one folder, so that one of them at most may be there."""

from __future__ import annotations

import functools
import logging
from importlib import metadata
from typing import Any

from .._util.interrupt import raise_if_interrupted
from .._util.privacy import telemetry
from ..errors import BackendUnavailable

__all__ = ["import_runtime", "wheels"]

log = logging.getLogger(__name__)

_INSTALL = 'install one of "aunet_sdk[cpu]" and "aunet_sdk[gpu]" (never both)'
_REMOVE = "pip uninstall onnxruntime onnxruntime-gpu"


def wheels() -> list[str]:
    """Name and version of every wheel of ONNX Runtime in this environment."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def import_runtime(gpu: bool = True) -> Any:
    """The onnxruntime module, with its telemetry off; where that could not be done, a warning says so once.

    Two wheels in one environment are an error where a GPU is asked for: whichever was installed last decides whether
    its providers are there. The CPU provider is in both, so that for it they are a warning, once in a process.

    Raises:
        BackendUnavailable: none, a broken one, or with `gpu` both wheels.
    """
    found = wheels()
    if len(found) > 1:
        message = (
            f"expected one ONNX Runtime, got {' and '.join(found)}, which overwrite each other's files; "
            f"{_REMOVE}, then {_INSTALL}"
        )
        if gpu:
            raise BackendUnavailable(message)
        _warn(message)
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise_if_interrupted(error)
        raise BackendUnavailable(f"expected ONNX Runtime, got {error}; {_INSTALL}") from error
    except Exception as error:  # its import loads libraries, and raises whatever befalls it
        raise_if_interrupted(error)
        raise BackendUnavailable(
            f"expected ONNX Runtime to be imported, got {type(error).__name__}: {error}; "
            "try `python -c 'import onnxruntime'`"
        ) from error
    if not hasattr(ort, "InferenceSession"):
        raise BackendUnavailable(f"expected ONNX Runtime, got the rest of one; {_REMOVE}, then {_INSTALL}")
    state = telemetry()["onnxruntime"]
    if state != "off":
        _warn(f"telemetry of ONNX Runtime {ort.__version__} is {state}")
    return ort


@functools.cache
def _warn(message: str) -> None:
    log.warning("%s", message)
