"""A file that may not be read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401  while it may be read
import pytest

NOBODY = 65534


@pytest.fixture
def unreadable() -> Iterator[Path]:
    """A file `1.png` with content and without any permission, alone in its folder; root gives up its rights for it."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no POSIX permissions here")
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "1.png"
        file.write_bytes(b"content")
        file.chmod(0)
        if root:
            os.seteuid(NOBODY)
        try:
            yield file
        finally:
            if root:
                os.seteuid(0)
