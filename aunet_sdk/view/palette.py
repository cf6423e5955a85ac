"""What the overlay and the timeline share: one colour per face id, and how an AU is called."""

from __future__ import annotations

from ..errors import InvalidInput
from ..facs import AU_NUMBERS, action_unit, parse_au

__all__ = ["face_colour", "facs_label"]

# Okabe and Ito's colours for all kinds of colour vision, RGB, without black; ordered for contrast on skin.
_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (240, 228, 66), (0, 114, 178))


# Those of FACS (Ekman, Friesen and Hager 2002) that the paper's table does not have.
_MORE_TITLES = {
    5: "Upper lid raiser",
    11: "Nasolabial deepener",
    13: "Sharp lip puller",
    16: "Lower lip depressor",
    18: "Lip pucker",
    19: "Tongue show",
    20: "Lip stretcher",
    22: "Lip funneler",
    27: "Mouth stretch",
    28: "Lip suck",
    29: "Jaw thrust",
    30: "Jaw sideways",
    33: "Cheek blow",
    34: "Cheek puff",
    38: "Nostril dilator",
    39: "Nostril compressor",
    43: "Eye closure",
    45: "Blink",
    46: "Wink",
}


def face_colour(face_id: int) -> tuple[int, int, int]:
    """The colour of a face id as (R, G, B), 0-255. Repeats after seven ids."""
    return _COLOURS[face_id % len(_COLOURS)]


def facs_label(name: str) -> str:
    """An AU with its FACS name: "AU12 Lip corner puller"; the bare name where FACS has none."""
    try:
        number = parse_au(name)
        title = action_unit(number).title if number in AU_NUMBERS else _MORE_TITLES[number]
    except (InvalidInput, KeyError):
        return name
    return f"{name} {title}"
