"""A dict that cannot be changed, for the fields of frozen dataclasses."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

__all__ = ["ReadOnlyDict"]

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
