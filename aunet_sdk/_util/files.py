"""Files: is one there, may it be read, can it be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidInput


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` if it is a file that has content and may be read; raises InvalidInput."""
    file = Path(path)
    try:
        if not file.exists():
            raise InvalidInput(f"{what}: {file} does not exist")
        if not file.is_file():
            raise InvalidInput(f"{what}: expected a file, {file} is not one")
        if file.stat().st_size == 0:
            raise InvalidInput(f"{what}: {file} is empty (zero bytes)")
        with file.open("rb"):
            pass
    except OSError as error:
        raise InvalidInput(f"{what}: {file} cannot be read: {error.strerror or error}") from error
    return file


def check_writable(path: Path, what: str) -> None:
    """Raises InvalidInput that names `what` and the reason, for a file that cannot be written. Leaves everything as it
    was: no file that was not there, and a symbolic link stays, also one whose target does not exist yet."""
    target = Path(os.path.realpath(path))
    existed = os.path.lexists(target)
    try:
        if existed and not target.is_file() and not target.is_dir():
            if not os.access(target, os.W_OK):  # opening a pipe would wait for its reader
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        with target.open("ab"):
            pass
        if not existed:
            target.unlink()
    except OSError as error:
        raise InvalidInput(f"{what}: cannot write to {path}: {error.strerror or error}; give another path") from error


def working_directory_is_gone() -> bool:
    """Whether somebody removed the working directory: every relative path fails then, with a bare errno."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def check_working_directory(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raises InvalidInput for a relative path where the working directory does not exist any more."""
    for path in paths:
        if not os.path.isabs(path) and working_directory_is_gone():
            raise InvalidInput(
                f"the working directory does not exist any more, so {os.fspath(path)} is no place: "
                "change to a directory that exists, or give absolute paths"
            )
