"""What every sink is: it takes results one by one, and it ends what it holds when it is closed.

A new sink is a module in this folder with one child of `Sink` (or of `MessageSink`, where it carries the messages of
docs/messages.md as they are), a line in `__init__.py`, and a word in `uri.py`.
"""

from __future__ import annotations

import errno
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import AUNetError, InvalidInput, OutputLost
from .message import EventLike, event_message, frame_message

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["Blocks", "MessageSink", "Sink", "WholeBlocks", "lost"]


class Sink(ABC):
    """A place for results. It is open from its construction until `close`, and a context manager.

    The constructor raises InvalidInput where the place cannot be used. `put` raises InvalidInput for a result that
    the sink cannot take, and OutputLost where the place gave way: what came before is kept there.
    """

    takes_images: bool = True
    """whether `put` looks at the picture; a queue before the sink does not keep pictures for one that does not"""
    retries: ClassVar[bool] = False
    """whether what was lost may be tried again later, as on a network; a full disk stays full"""
    left_out: int = 0
    """what the sink itself did not hand on so far: frames, messages"""
    trouble: str | None = None
    """why nothing reaches its place at the moment, where the sink goes on by itself; None: all is well"""

    @abstractmethod
    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        """Takes one result.

        Args:
            result: of one frame, in the order of the frames.
            image: uint8 (H, W, 3) BGR, the picture to be kept with it; sinks of numbers pass it over.
            file: the name of the picture's own file, where every frame has one.
        """

    def event(self, event: EventLike) -> None:  # noqa: B027 (tables and videos have no place for it)
        """Takes one moment of an event (`aunet_sdk.post.events.AUEvent`)."""

    def status(self, status: dict[str, Any]) -> None:  # noqa: B027
        """Takes a message "status" (docs/messages.md)."""

    def flush(self) -> None:  # noqa: B027 (nothing waits in most sinks)
        """Hands on what waits in the sink."""

    def close(self) -> None:  # noqa: B027
        """Ends what the sink holds. It may be called twice. It raises OutputLost where the end cannot be written."""

    def abandon(self) -> None:
        """Ends what the sink holds after an error, as well as that can be done; raises nothing of the output's own."""
        try:
            self.close()
        except OutputLost:
            pass

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()  # the error of the block is the one to tell


class MessageSink(Sink):
    """A sink that carries the messages of docs/messages.md; its children have `send`.

    source: the source as it was given; it stands in every frame, without user, password and token. Where `put` is given
    the name of a frame's own file, that stands there instead.
    """

    takes_images = False

    def __init__(self, source: str = "") -> None:
        self.source = source

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        self.send(frame_message(result, self.source if file is None else file))

    def event(self, event: EventLike) -> None:
        self.send(event_message(event))

    def status(self, status: dict[str, Any]) -> None:
        self.send(status)

    @abstractmethod
    def send(self, message: Mapping[str, Any]) -> None:
        """Hands on one message as it is: of an event, a status, or a frame with more than `put` knows."""


class Blocks(Protocol):
    """What takes blocks of bytes, one after another: `WholeBlocks`, or something in memory."""

    def append(self, block: bytes) -> None:
        """One block, whole or not at all."""

    def check_open(self) -> None:
        """Raises AUNetError after `close`."""

    def close(self) -> None:
        """It may be called twice."""


class WholeBlocks:
    """A file, or standard output for the path "-", to which blocks of bytes are appended: each at once, and whole or
    not at all. An existing file is replaced; standard output stays open in the end.

    `what` names the output in errors. Raises InvalidInput where it cannot be opened; OutputLost from `append` where it
    takes no more (a full disk, a pipe that nobody reads): the blocks before are kept whole.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        self._what = what
        self._stdout = os.fspath(path) == "-"
        self._path = "standard output" if self._stdout else os.fspath(path)
        self._size = 0
        self.closed = False
        self._stream: Any
        if self._stdout:
            sys.stdout.flush()
            self._stream = getattr(sys.stdout, "buffer", None)
            if self._stream is None:
                raise InvalidInput(f"{what}: expected a standard output that takes bytes; give a path")
            return
        try:
            self._stream = Path(path).open("wb", buffering=0)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"{what}: cannot write to {self._path}: {reason}; give another path") from error

    def check_open(self) -> None:
        """Raises AUNetError after `close`."""
        if self.closed:
            raise AUNetError(f"{self._what}: this sink is closed; make a new one")

    def append(self, block: bytes) -> None:
        self.check_open()
        data = memoryview(block)
        try:
            while data:
                data = data[self._stream.write(data) :]
            self._stream.flush()
        except OSError as error:
            if not self._stdout:
                with suppress(OSError):  # a pipe or a device cannot be cut
                    os.truncate(self._stream.fileno(), self._size)
                    self._stream.seek(self._size)
            raise lost(self._what, self._path, error) from error
        self._size += len(block)

    def close(self) -> None:
        """It may be called twice."""
        self.closed = True
        if self._stdout:
            return
        try:
            self._stream.close()
        except OSError as error:
            raise lost(self._what, self._path, error) from error


def lost(what: str, path: str | os.PathLike[str], error: Exception) -> OutputLost:
    """The error for an output that could not be written any further, from that of the system or of FFmpeg."""
    reason = getattr(error, "strerror", None) or str(error)
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room there or give another path" if full else "give another path"
    return OutputLost(f"{what}: cannot write to {os.fspath(path)}: {reason}; {advice}")
