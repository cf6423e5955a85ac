"""Which compiled kernels are there, and that their tests cannot be passed over in silence."""

from __future__ import annotations

import sys

import pytest

from aunet_sdk import _native

from . import native


@pytest.mark.parametrize("name", [*_native.KERNELS, "raster"])
def test_the_kernel_is_built(name: str) -> None:
    """Skipped without a compiler; with AUNET_REQUIRE_NATIVE=1, as for wheels, it fails there."""
    assert native.kernel(name) is _native.load(name)


@pytest.mark.parametrize("name", _native.KERNELS)
def test_a_missing_kernel_skips_or_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"aunet_sdk._native.{name}", None)
    monkeypatch.delenv(native.SWITCH, raising=False)
    assert not native.built(name)
    with pytest.raises(pytest.skip.Exception, match=name):
        native.kernel(name)
    monkeypatch.setenv(native.SWITCH, "1")
    with pytest.raises(ImportError):
        native.built(name)
    with pytest.raises(ImportError):
        native.kernel(name)
