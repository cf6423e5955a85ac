"""Finding faces and following them from frame to frame."""

from __future__ import annotations

from .finders.base import FaceFinder, FoundFace
from .finders.choice import open_finder
from .tracker import Track, Tracker

__all__ = ["FaceFinder", "FoundFace", "Track", "Tracker", "open_finder"]
