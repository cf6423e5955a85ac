"""The page of a live run: picture, strip charts, events and people in a browser. docs/page.md shows it."""

from __future__ import annotations

from .notice import Notice
from .server import PageServer

__all__ = ["Notice", "PageServer"]
