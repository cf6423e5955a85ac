"""Which inputs `aunet detect` was given: paths, and patterns that a shell left alone."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from ..sources.images import natural_key

__all__ = ["distinct_names", "expand"]


def expand(arguments: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The inputs in the order of the arguments, each once. What exists is a path, whatever its characters; else `*`,
    `?`, `[..]` and `**` are a pattern (as in a quoted argument, and always on Windows), in natural order: 2 before 10.

    A pattern of `**` gives files alone. A path that does not exist stays: what reads it says so. Raises InvalidInput
    where a pattern matches nothing.
    """
    inputs: dict[str, Path] = {}
    for argument in [os.fspath(each) for each in arguments]:
        found = [argument]
        if not os.path.lexists(argument) and glob.has_magic(argument):
            found = sorted(glob.glob(argument, recursive=True), key=natural_key)
            if "**" in argument:
                found = [name for name in found if os.path.isfile(name)]
            if not found:
                raise InvalidInput(f"input: nothing matches {argument}")
        for name in found:
            inputs.setdefault(os.path.realpath(name), Path(name))
    return list(inputs.values())


def distinct_names(inputs: Sequence[Path]) -> list[str]:
    """A name for the outputs of each input: its stem (a folder's whole name); where two have the same one, their whole
    names, and where these are the same too, the names of the folders above before them, joined by "_"."""
    places = [Path(os.path.realpath(path)) for path in inputs]
    names = [place.name if place.is_dir() else place.stem for place in places]
    above = 0
    while len(set(names)) < len(names) and above <= max(len(place.parts) for place in places):
        again = {name for name in names if names.count(name) > 1}
        for k, place in enumerate(places):
            if names[k] in again:
                names[k] = "_".join([*place.parts[max(1, len(place.parts) - 1 - above) : -1], place.name])
        above += 1
    return names
