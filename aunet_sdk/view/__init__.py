"""Pictures for people: the overlay on a frame and the timeline of a video."""

from __future__ import annotations

from .overlay import draw
from .palette import face_colour
from .timeline import Track, read_tracks, timeline

__all__ = ["Track", "draw", "face_colour", "read_tracks", "timeline"]
