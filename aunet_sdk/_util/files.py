"""Files: is one there, may it be read, can it be written."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InvalidInput


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` if it is a file that has content and may be read; raises InvalidInput."""
    file = Path(path)
    try:
        if not file.exists():
            raise InvalidInput(f"{what}: {file} does not exist")
        if not file.is_file():
            raise InvalidInput(f"{what}: expected a file, {file} is none")
        if file.stat().st_size == 0:
            raise InvalidInput(f"{what}: {file} is empty (zero bytes)")
        with file.open("rb"):
            pass
    except OSError as error:
        raise InvalidInput(f"{what}: {file} cannot be read: {error.strerror or error}") from error
    return file


def name_for_cv2(path: Path, what: str) -> str:
    """The path as OpenCV takes it. Raises InvalidInput for a name that is not UTF-8: OpenCV ends the process on it."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what}: expected a path in UTF-8, got {name!r}; rename it") from None
    return name


def check_writable(path: Path, what: str) -> None:
    """Raises InvalidInput that names `what` and the reason, for a file that cannot be written. Leaves no file behind
    that was not there."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InvalidInput(f"{what}: cannot write to {path}: {error.strerror or error}; give another path") from error
    if not existed:
        path.unlink()
