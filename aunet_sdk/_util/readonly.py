"""A dict and arrays that cannot be changed, for the fields of frozen dataclasses."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import numpy as np

from ..errors import InvalidInput

__all__ = ["ReadOnlyDict", "read_only_array"]

K = TypeVar("K")
V = TypeVar("V")


class ReadOnlyDict(dict[K, V]):
    """Made, compared and printed like a dict; every change raises TypeError.

    Other than `types.MappingProxyType` it can be pickled, copied and written as JSON, `dataclasses.asdict` takes it,
    and it can be hashed where its values can.
    """

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("expected no change to a read-only mapping; change a copy, dict(...)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def read_only_array(name: str, value: object, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """`value` as a read-only array of this shape and dtype; a copy where anybody could change it. Raises InvalidInput,
    which calls it `name`."""
    if isinstance(value, np.ndarray) and value.base is None and value.dtype == dtype and not value.flags.writeable:
        array = value  # nobody can change it: shared, such as the thresholds of all faces
    else:
        array = np.array(value, dtype=dtype)
    if array.shape != shape:
        raise InvalidInput(f"{name}: expected an array of shape {shape}, got {array.shape}")
    array.flags.writeable = False
    return array
