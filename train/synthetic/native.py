"""The compiled triangle raster, csrc/raster.pyx. It stands alone: in NumPy, drawing 20,000 frames would take weeks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from aunet_sdk.errors import BackendUnavailable


def load_raster() -> Any:
    """The extension module `aunet_sdk._native.raster`.

    Raises:
        BackendUnavailable: it is not built.
    """
    try:
        return import_module("aunet_sdk._native.raster")
    except ImportError as error:
        raise BackendUnavailable(
            "synthetic: expected the compiled extension aunet_sdk._native.raster, which draws the faces, got: "
            f"{error}; install a C compiler, then `pip install -e .` in the checkout"
        ) from error


__all__ = ["load_raster"]
