"""The compiled kernels in tests: skipped where they are not built, or required by AUNET_REQUIRE_NATIVE=1."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

import pytest

SWITCH = "AUNET_REQUIRE_NATIVE"


def built(name: str) -> bool:
    """Whether `aunet_sdk._native.NAME` is there. Raises ImportError where it is not and the switch says 1."""
    try:
        import_module(f"aunet_sdk._native.{name}")
    except ImportError:
        if os.environ.get(SWITCH) == "1":
            raise
        return False
    return True


def kernel(name: str) -> ModuleType:
    """The extension module `aunet_sdk._native.NAME`; without it the tests of the calling module are skipped.

    Raises ImportError where it is not there and the switch says 1.
    """
    if not built(name):
        pytest.skip(f"the compiled kernel {name} is not built", allow_module_level=True)
    return import_module(f"aunet_sdk._native.{name}")
