"""Finding faces and following them from frame to frame."""

from __future__ import annotations

from .choice import open_finder
from .finder import FaceFinder, FoundFace
from .tracker import Track, Tracker

__all__ = ["FaceFinder", "FoundFace", "Track", "Tracker", "open_finder"]
