"""Libraries that come with an extra of the package."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import BackendUnavailable

__all__ = ["load_extra"]


def load_extra(module: str, what: str, command: str) -> Any:
    """The module. Raises BackendUnavailable with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendUnavailable(
            f"{what}: expected the library {module.split('.')[0]}, got {error}; {command}"
        ) from error
