"""Compiled kernels, built from csrc/*.pyx. Where one is missing its NumPy reference runs; `raster`, which only train's
renderer uses, has none.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType

from .._util.interrupt import raise_if_interrupted

KERNELS = ("align", "boxes", "geometry", "heatmap")
"""the modules that the package runs; `raster` is the renderer's of train alone"""

_warned = False


def load(name: str) -> ModuleType | None:
    """The extension module `aunet_sdk._native.NAME`, or None, with one warning per process, where it is not built."""
    global _warned
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise_if_interrupted(error)
        if not _warned:
            _warned = True
            warnings.warn(
                f"The compiled kernels of aunet_sdk are missing ({error}); the slower NumPy references run instead. "
                "To build them, install a C compiler and then aunet_sdk again.",
                RuntimeWarning,
                stacklevel=3,
            )
        return None
