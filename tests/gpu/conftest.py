"""Tests on a real GPU. Each is marked `gpu` and skipped with the reason where there is none."""

from __future__ import annotations

import pytest

from aunet_sdk.engines.cuda.bindings import CudaBindings
from aunet_sdk.errors import AUNetError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def cuda() -> CudaBindings:
    """cuda-bindings, attached to device 0 in this thread."""
    try:
        opened = CudaBindings(0)
        opened.attach()
    except AUNetError as error:
        pytest.skip(str(error))
    return opened
