"""What ONNX Runtime's TensorRT provider keeps inside the engine cache: one folder for each model and choice.

ONNX Runtime writes these files, so that they do not begin with a line of ours. Each folder of them has a marker
instead, and only folders with a marker, and in them only files of the kinds that the provider writes, are removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MARKER", "ORT_FOLDER", "empty", "files", "prepare"]

ORT_FOLDER = "onnxruntime"
"""in the cache folder"""
MARKER = ".aunet_sdk"
_TEXT = "ONNX Runtime's engines, kept by aunet_sdk. `aunet engine clear` removes them.\n"
_KINDS = (".engine", ".profile", ".timing")


def prepare(folder: Path) -> None:
    """Make a folder for ONNX Runtime to write to, and mark it, and the one that it lies in, as ours. Raises OSError."""
    for each in (folder.parent, folder):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
        (each / MARKER).write_text(_TEXT, encoding="utf-8")


def files(folder: Path) -> Iterator[Path]:
    """Those of ONNX Runtime in a folder that is marked; nothing where it is not."""
    with contextlib.suppress(OSError):
        if (folder / MARKER).is_file() and not folder.is_symlink():
            yield from sorted(path for path in folder.iterdir() if path.suffix in _KINDS and path.is_file())


def empty(folder: Path) -> tuple[int, int]:
    """Remove ONNX Runtime's files of a marked folder and of those in it: (files, bytes). The folders go where nothing
    else lies in them. Raises OSError."""
    count = size = 0
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for each in (*inner, folder):
        if each.is_symlink() or not (each / MARKER).is_file():
            continue
        for path in list(files(each)):
            size += path.stat().st_size
            path.unlink()
            count += 1
        if [path.name for path in each.iterdir()] == [MARKER]:
            (each / MARKER).unlink()
            each.rmdir()
    return count, size
