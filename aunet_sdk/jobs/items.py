"""What an archive consists of: files, folders, patterns, lists, and addresses that fsspec knows."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .._util.uris import without_credentials
from ..errors import BackendUnavailable, InvalidInput
from ..sources.images import natural_key

__all__ = ["VIDEO_SUFFIXES", "Item", "expand", "file_system", "is_address", "key_of"]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".ogv", ".mjpeg", ".mjpg"),
)
"""the files of a folder that are taken for videos; a file that is named itself may have any name"""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+(::[a-z][a-z0-9+.-]+)*://", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One file of the archive.

    uri: a path of this machine, absolute, or an address that fsspec knows.  key: its name in the data set, the file's
    name and eight digits of the address's hash.  size: bytes; None where not known.  stamp: what changes with the
    file's content as far as its file system tells (time of change, or ETag).
    """

    uri: str
    key: str
    size: int | None = None
    stamp: str = ""

    @property
    def shown(self) -> str:
        """The address without user, password and token."""
        return without_credentials(self.uri)


def is_address(text: str) -> bool:
    """Whether this is `scheme://...` and no path."""
    return _ADDRESS.match(text) is not None


def expand(arguments: Sequence[str | os.PathLike[str]]) -> list[Item]:
    """The files in the order of the arguments, each once; those of a folder or a pattern in natural order.

    An argument is a file, a folder (all videos below it), a pattern (`*`, `?`, `[..]`, `**`), `@LIST` (a text file with
    one of these a line; empty lines and lines from # on are passed over), or any of the first three as an address such
    as `s3://bucket/talks/*.mp4`. Raises InvalidInput for what gives no file, BackendUnavailable where fsspec or the
    package for an address is missing.
    """
    found: dict[str, Item] = {}
    for item in _items(arguments):
        found.setdefault(item.uri, item)
    if not found:
        raise InvalidInput("input: expected files, folders, patterns or addresses with videos, got none")
    return list(found.values())


def _items(arguments: Iterable[str | os.PathLike[str]], inside: str = "") -> Iterator[Item]:
    for argument in (os.fspath(each) for each in arguments):
        if argument.startswith("@") and not os.path.lexists(argument):
            if inside:
                raise InvalidInput(f"input: {inside} names another list, {argument}; put its lines into one file")
            yield from _items(_lines(argument[1:]), argument)
        elif is_address(argument):
            yield from _remote(argument)
        else:
            yield from _local(argument)


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InvalidInput(f"input: the list {path} cannot be read: {error.strerror or error}") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _local(argument: str) -> list[Item]:
    if not os.path.lexists(argument) and glob.has_magic(argument):
        names = [name for name in glob.glob(argument, recursive=True) if os.path.isfile(name)]
    elif os.path.isdir(argument):
        below = (os.path.join(folder, name) for folder, _, names in os.walk(argument) for name in names)
        names = [name for name in below if name.lower().endswith(VIDEO_SUFFIXES)]
    else:
        names = [argument]  # a file that is missing has a status of its own: the others go on
    if not names:
        raise InvalidInput(f"input: {argument} has no video")
    return [_local_item(os.path.abspath(name)) for name in sorted(names, key=natural_key)]


def _local_item(path: str) -> Item:
    try:
        facts = os.stat(path)
    except OSError:
        return Item(path, key_of(path))
    return Item(path, key_of(path), facts.st_size, str(facts.st_mtime_ns))


def _remote(argument: str) -> list[Item]:
    system, path = file_system(argument)
    try:
        if glob.has_magic(path):
            names = [name for name in system.glob(path) if system.isfile(name)]
        elif system.isdir(path):
            names = [name for name in system.find(path) if name.lower().endswith(VIDEO_SUFFIXES)]
        else:
            names = [path]
        if not names:
            raise InvalidInput(f"input: {without_credentials(argument)} has no video")
        return [_remote_item(system, name, argument) for name in sorted(names, key=natural_key)]
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"input: {without_credentials(argument)} cannot be read: {without_credentials(str(error))}"
        ) from error


def _remote_item(system: Any, name: str, argument: str) -> Item:
    uri = system.unstrip_protocol(name) if "::" not in argument else argument
    try:
        facts = system.info(name)
    except (OSError, ValueError):
        return Item(uri, key_of(uri))
    stamp = next(
        (str(facts[each]) for each in ("ETag", "etag", "mtime", "LastModified", "created") if each in facts), ""
    )
    return Item(uri, key_of(uri), facts.get("size"), stamp)


def file_system(uri: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path there."""
    try:
        import fsspec
    except ImportError as error:
        raise BackendUnavailable(f'addresses need fsspec: {error}; pip install "aunet_sdk[jobs]"') from error
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:  # s3fs, gcsfs, adlfs, ...
        raise BackendUnavailable(f"input: {without_credentials(uri)}: {error}") from error
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"input: {without_credentials(uri)} cannot be opened: {without_credentials(str(error))}"
        ) from error
    return system, str(path)


def key_of(uri: str) -> str:
    """Of letters, digits, dot, dash and underline alone, so that it is the same in a path, a column and a page."""
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(without_credentials(uri).replace("\\", "/")).stem, flags=re.ASCII)
    digest = hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{stem[:80] or 'file'}-{digest[:8]}"
