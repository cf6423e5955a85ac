"""JSON Lines: one message "aunet/1" a line, to a file or to standard output. docs/messages.md has the messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import MessageSink, WholeBlocks
from .message import encode

__all__ = ["JsonlSink"]


class JsonlSink(MessageSink):
    """Writes messages to a file, one a line, each as soon as it comes.

    path: an existing file is replaced; "-" is standard output, which stays open in the end.
    source: see `MessageSink`.

    Provisional results are written, too, and say so. Raises InvalidInput where the path cannot be opened; OutputLost
    where it takes no more (a full disk, a pipe that nobody reads): the lines before are kept whole.
    """

    def __init__(self, path: str | Path, source: str = "") -> None:
        super().__init__(source)
        self.lines = 0
        self.path = Path(path)
        self._file = WholeBlocks(path, "JSON Lines")

    def send(self, message: Mapping[str, Any]) -> None:
        self._file.append(encode(message).encode("ascii") + b"\n")
        self.lines += 1

    def close(self) -> None:
        """Closes the file. It may be called twice."""
        self._file.close()
