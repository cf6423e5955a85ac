from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aunet_sdk._util.readonly import ReadOnlyDict

PLAIN = {"AU1": 0.25, "AU12": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("AU1", 1.0),
        lambda d: d.__delitem__("AU1"),
        lambda d: d.__ior__({"AU2": 1.0}),
        lambda d: d.clear(),
        lambda d: d.pop("AU1"),
        lambda d: d.popitem(),
        lambda d: d.setdefault("AU2", 1.0),
        lambda d: d.update(AU2=1.0),
    ],
)
def test_every_change_is_refused(change: Callable[[Any], object]) -> None:
    values = ReadOnlyDict(PLAIN)
    with pytest.raises(TypeError, match="read-only"):
        change(values)
    assert values == PLAIN


def test_it_reads_compares_and_prints_like_a_dict() -> None:
    values = ReadOnlyDict(PLAIN)
    assert values == PLAIN == values and values != {"AU1": 0.25}
    assert repr(values) == repr(PLAIN) and json.dumps(values) == json.dumps(PLAIN)
    assert type(values | {"AU2": 1.0}) is dict and type(values.copy()) is dict


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_copies_are_equal_and_read_only(protocol: int) -> None:
    values = ReadOnlyDict(PLAIN)
    for twin in (pickle.loads(pickle.dumps(values, protocol)), copy.deepcopy(values), copy.copy(values)):
        assert type(twin) is ReadOnlyDict and twin == values and hash(twin) == hash(values)


def test_equal_ones_have_one_hash_in_any_order() -> None:
    assert hash(ReadOnlyDict(PLAIN)) == hash(ReadOnlyDict(reversed(PLAIN.items())))
