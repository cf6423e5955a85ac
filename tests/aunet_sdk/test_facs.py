from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk import InvalidInput, facs


def test_table_one_has_the_fifteen_aus_of_the_contract() -> None:
    assert facs.AU_NUMBERS == (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)
    assert facs.AU_NAMES[7] == "AU12" == facs.ACTION_UNITS[7].name
    assert all(0 <= point < 68 for au in facs.ACTION_UNITS for point in au.landmarks)
    smile = facs.action_unit("12")
    assert (smile.title, smile.muscle, smile.landmarks) == ("Lip corner puller", "Zygomaticus major", (48, 54))
    assert facs.action_unit(6).region == "midpoint of 2,14, midpoint of 41,46"


@given(st.integers(1, 99), st.sampled_from(["{}", "AU{}", "au{}", " AU {} ", "AU_{}", "au-{}", "AU0{}"]))
def test_every_spelling_means_the_same_au(number: int, form: str) -> None:
    assert facs.parse_au(form.format(number)) == number
    assert facs.parse_au(number) == facs.parse_au(np.int64(number)) == number
    assert facs.au_name(form.format(number)) == f"AU{number}"


@pytest.mark.parametrize("value", ["", "AU", "smile", "AU0", 0, -1, 100, "1.5", 1.0, True, None, "AU12L"])
def test_other_things_are_no_au(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected an Action Unit"):
        facs.parse_au(value)  # type: ignore[arg-type]


def test_an_au_outside_the_table_has_no_row() -> None:
    with pytest.raises(InvalidInput, match="AU45 is not in Table I"):
        facs.action_unit("AU45")


def test_selections_are_sorted_and_unique() -> None:
    assert facs.parse_aus("12,AU1; 2 12") == ("AU1", "AU2", "AU12")
    assert facs.parse_aus([25, "4"]) == ("AU4", "AU25")
    assert facs.parse_aus(7) == ("AU7",)
    for empty in ("", []):
        with pytest.raises(InvalidInput, match="at least one"):
            facs.parse_aus(empty)


@pytest.mark.parametrize(
    "active, expected",
    [
        ([6, 12], ("happiness",)),
        (["AU7", "AU12", "AU25"], ("happiness",)),
        ([1, 2, 4], ("fear", "sadness")),
        ([1, 2, 26], ("sadness", "surprise")),
        ([23], ("anger",)),
        ([17], ()),
        ([9], ("disgust",)),
        ([], ()),
    ],
)
def test_expressions_of_table_two(active: list, expected: tuple[str, ...]) -> None:
    assert facs.expressions_of(active) == expected


def test_expressions_use_aus_of_table_one_only() -> None:
    assert {n for ways in facs.EXPRESSIONS.values() for way in ways for n in way} <= set(facs.AU_NUMBERS)
