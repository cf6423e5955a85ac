"""Finding faces and following them from frame to frame."""

from __future__ import annotations

from .finder import FaceFinder, FoundFace, open_finder
from .tracker import Track, Tracker

__all__ = ["FaceFinder", "FoundFace", "Track", "Tracker", "open_finder"]
