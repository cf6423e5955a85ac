"""Where this user's files lie, and looking for files in folders that may be closed to us.

Everything that aunet_sdk keeps for itself lies in one folder, `aunet_sdk` in the user's cache folder. A user may have
no home (a container with a number for a user), one that may not be read, or one that cannot be written. None of it
stops the runtime: nothing is found there, and what would be kept is not kept, which is logged where it is written.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["NOWHERE", "cache_folder", "engines_folder", "files_in", "is_file", "model_store"]

NOWHERE = Path(os.devnull, "aunet_sdk")
"""in place of a folder where the user has no home: nothing is there, and nobody, not even root, can make it"""


def cache_folder() -> Path:
    """`aunet_sdk` in $XDG_CACHE_HOME or ~/.cache, in ~/Library/Caches (macOS) or %LOCALAPPDATA% (Windows)."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("aunet_sdk", appauthor=False, opinion=False)
    except (OSError, RuntimeError):
        return NOWHERE
    return folder if folder.is_absolute() else NOWHERE  # "~/.cache" where nobody knows the user's home


def engines_folder() -> Path:
    """TensorRT's engines, and ONNX Runtime's in a folder of their own."""
    return cache_folder() / "engines"


def model_store() -> Path:
    """Models that did not come with the package. A store in ~/.cache, where it was on every system, stays in use."""
    store = cache_folder() / "models"
    before = Path(os.path.expanduser("~/.cache/aunet_sdk/models"))
    return before if before.is_absolute() and not _is_folder(store) and _is_folder(before) else store


def is_file(path: Path) -> bool:
    """Whether there is a file, False also where that may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder by name, none where it may not be looked at."""
    try:
        return sorted(path for path in folder.glob(pattern) if is_file(path))
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
