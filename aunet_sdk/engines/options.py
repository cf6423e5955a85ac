"""Further options of one engine, as DetectorOptions.engine_options and open_engine take them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput

__all__ = ["allowed_options", "checked_options"]

_TAKEN = {"max_faces", "threads", "precision", "library", "provider"}
"""arguments that have a place of their own, or that the engine's name decides"""


def allowed_options(kind: type) -> tuple[str, ...]:
    """Names of the keyword arguments that an engine's class takes beyond those, in order of the alphabet."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" in vars(each):
            arguments = inspect.signature(vars(each)["__init__"]).parameters.values()
            names |= {argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY}
            if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
                break
    return tuple(sorted(names - _TAKEN))


def checked_options(engine: str, kind: type, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """`options` as keyword arguments. Raises InvalidInput that names the first one that the engine does not have."""
    allowed = allowed_options(kind)
    for name in options or {}:
        if name not in allowed:
            raise InvalidInput(
                f"engine_options: expected those of the engine {engine}, got {name!r}; it has {', '.join(allowed)}"
            )
    return dict(options or {})
