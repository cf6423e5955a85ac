"""The Facial Action Coding System as the paper uses it: Table I (15 AUs) and Table II (expressions)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .errors import InvalidInput


@dataclass(frozen=True)
class ActionUnit:
    """One row of the paper's Table I."""

    number: int
    """FACS number"""
    title: str
    """what FACS calls it, for instance "Lip corner puller\""""
    location: str
    """where it shows; "scale" is the distance between the inner eye corners"""
    muscle: str
    landmarks: tuple[int, ...]
    """iBUG numbers (0-67) of the landmarks that name its region"""
    region: str
    """the region in the words of Table I"""

    @property
    def name(self) -> str:
        """The name in every result and table: "AU12"."""
        return au_name(self.number)


def _row(
    number: int, title: str, location: str, muscle: str, landmarks: tuple[int, ...], region: str = ""
) -> ActionUnit:
    return ActionUnit(number, title, location, muscle, landmarks, region or ",".join(map(str, landmarks)))


# Table I. One slip is mended: the paper prints "Orbicularis oculi", an eye muscle, for AU25 (lips part).
ACTION_UNITS: tuple[ActionUnit, ...] = (
    _row(1, "Inner brow raiser", "1/2 scale above inner brow", "Frontalis", (21, 22)),
    _row(2, "Outer brow raiser", "1/3 scale above outer brow", "Frontalis", (17, 26)),
    _row(4, "Brow lowerer", "1/3 scale below brow center", "Corrugator supercilii", (21, 22), "midpoint of 21,22"),
    _row(
        6,
        "Cheek raiser",
        "1 scale below eye bottom",
        "Orbicularis oculi",
        (2, 14, 41, 46),
        "midpoint of 2,14, midpoint of 41,46",
    ),
    _row(7, "Lid tightener", "Eye", "Orbicularis oculi", (38, 43)),
    _row(
        9,
        "Nose wrinkler",
        "1/2 scale above nose bottom",
        "Levator labii superioris",
        (39, 42),
        "1/2 scale below 39,42",
    ),
    _row(10, "Upper lip raiser", "Upper lip center", "Levator labii superioris", (50, 52)),
    _row(12, "Lip corner puller", "Lip corner", "Zygomaticus major", (48, 54)),
    _row(14, "Dimpler", "Lip corner", "Buccinator", (48, 54)),
    _row(15, "Lip corner depressor", "Lip corner", "Triangularis", (48, 54)),
    _row(17, "Chin raiser", "1/2 scale below lip", "Mentalis", (56, 58), "1/2 scale below 56,58"),
    _row(23, "Lip tightener", "Lip center", "Orbicularis oris", (51, 57)),
    _row(24, "Lip presser", "Lip center", "Orbicularis oris", (51, 57)),
    _row(25, "Lips part", "Lip center", "Orbicularis oris", (51, 57)),
    _row(26, "Jaw drop", "1/2 scale below lip", "Mentalis", (56, 58), "1/2 scale below 56,58"),
)
AU_NUMBERS: tuple[int, ...] = tuple(au.number for au in ACTION_UNITS)
AU_NAMES: tuple[str, ...] = tuple(f"AU{number}" for number in AU_NUMBERS)

# Table II (adapted there from EMFACS): any one of the combinations belongs to the expression.
EXPRESSIONS: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType(
    {
        "happiness": ((6, 12), (7, 12)),
        "anger": ((4, 7), (17, 24), (23,)),
        "fear": ((1, 2, 4),),
        "sadness": ((1,), (1, 4), (6, 15)),
        "surprise": ((1, 2, 26),),
        "disgust": ((9,), (10,)),
    }
)

_BY_NUMBER = {au.number: au for au in ACTION_UNITS}
_PATTERN = re.compile(r"(?:au)?[\s_-]*0*([1-9]\d?)", re.IGNORECASE)


def parse_au(value: str | int) -> int:
    """The FACS number of `12`, "12", "AU12", "au 12" or "AU_12" (1 to 99). Raises InvalidInput."""
    if isinstance(value, str):
        match = _PATTERN.fullmatch(value.strip())
        if match:
            return int(match.group(1))
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 1 <= value <= 99:
        return int(value)
    raise InvalidInput(f'expected an Action Unit such as "AU12", "12" or 12, got {value!r}')


def au_name(value: str | int) -> str:
    """The name of an AU in results and tables: "AU12". Raises InvalidInput."""
    return f"AU{parse_au(value)}"


def action_unit(value: str | int) -> ActionUnit:
    """The row of Table I for an AU in any spelling of `parse_au`. Raises InvalidInput where the table has no such
    row."""
    number = parse_au(value)
    if number not in _BY_NUMBER:
        raise InvalidInput(f"AU{number} is not in Table I; it has {', '.join(AU_NAMES)}")
    return _BY_NUMBER[number]


def parse_aus(values: str | int | Iterable[str | int]) -> tuple[str, ...]:
    """AU names, ascending and without repetition, from "1,2,AU12" or from an iterable of any spelling.

    Raises InvalidInput for an unknown spelling or an empty selection.
    """
    if isinstance(values, str):
        values = [part for part in re.split(r"[,;\s]+", values.strip()) if part]
    elif isinstance(values, (int, np.integer)):
        values = [values]
    numbers = sorted({parse_au(value) for value in values})
    if not numbers:
        raise InvalidInput('expected at least one Action Unit, such as "1,2,12", got none')
    return tuple(f"AU{number}" for number in numbers)


def expressions_of(active: Iterable[str | int]) -> tuple[str, ...]:
    """Expressions of Table II for which one combination is wholly among the active AUs, in the table's order."""
    present = {parse_au(value) for value in active}
    return tuple(
        name
        for name, combinations in EXPRESSIONS.items()
        if any(present.issuperset(combination) for combination in combinations)
    )
