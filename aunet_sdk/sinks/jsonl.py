"""JSON Lines: one message "aunet/1" a line, to a file or to standard output. docs/messages.md has the messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import AUNetError, InvalidInput
from .base import Sink, lost
from .message import encode, frame_message

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["JsonlSink"]


class JsonlSink(Sink):
    """Writes messages to a file, one a line, each as soon as it comes.

    path: an existing file is replaced; "-" is standard output, which stays open in the end.
    source: the source as it was given; it stands in every frame, without user, password and token. Where `put` is given
    the name of a frame's own file, that stands there instead.

    Provisional results are written, too, and say so. Raises InvalidInput where the path cannot be opened; OutputLost
    where it takes no more (a full disk, a pipe that nobody reads): the lines before are kept whole.
    """

    def __init__(self, path: str | Path, source: str = "") -> None:
        self.source = source
        self.lines = 0
        self._stdout = str(path) == "-"
        self.path = Path(path)
        self._stream: BinaryIO | Any
        if self._stdout:
            sys.stdout.flush()
            self._stream = getattr(sys.stdout, "buffer", None)
            if self._stream is None:
                raise InvalidInput("JSON Lines: expected a standard output that takes bytes; give a path")
        else:
            try:
                self._stream = self.path.open("wb", buffering=0)
            except OSError as error:
                raise InvalidInput(
                    f"JSON Lines: cannot write to {self.path}: {error.strerror or error}; give another path"
                ) from error
        self._size = 0
        self._closed = False

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        self.send(frame_message(result, self.source if file is None else file))

    def send(self, message: Mapping[str, Any]) -> None:
        """Writes one message as it is: of an event, a status, or a frame with more than `put` knows."""
        if self._closed:
            raise AUNetError("JSON Lines: this JsonlSink is closed; make a new one")
        line = encode(message).encode("ascii") + b"\n"
        data = memoryview(line)
        try:
            while data:
                data = data[self._stream.write(data) :]
            self._stream.flush()
        except OSError as error:
            if not self._stdout:
                with suppress(OSError):  # a pipe or a device cannot be cut
                    os.truncate(self._stream.fileno(), self._size)
                    self._stream.seek(self._size)
            raise lost("JSON Lines", "standard output" if self._stdout else self.path, error) from error
        self._size += len(line)
        self.lines += 1

    def close(self) -> None:
        """Closes the file. It may be called twice."""
        self._closed = True
        if self._stdout:
            return
        try:
            self._stream.close()
        except OSError as error:
            raise lost("JSON Lines", self.path, error) from error
