"""What the overlay and the timeline share: one colour per face id, and how an AU is called."""

from __future__ import annotations

from ..errors import InvalidInput
from ..facs import action_unit

__all__ = ["face_colour", "facs_label"]

# Okabe and Ito's colours for all kinds of colour vision, RGB, without black; ordered for contrast on skin.
_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (240, 228, 66), (0, 114, 178))


def face_colour(face_id: int) -> tuple[int, int, int]:
    """The colour of a face id as (R, G, B), 0-255. Repeats after seven ids."""
    return _COLOURS[face_id % len(_COLOURS)]


def facs_label(name: str) -> str:
    """An AU with its FACS name: "AU12 Lip corner puller"; the bare name where the table does not have it."""
    try:
        return f"{name} {action_unit(name).title}"
    except InvalidInput:
        return name
