"""How a run ends from outside: Ctrl-C, SIGTERM, SIGHUP, and a reader of stdout that has gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import OutputLost

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Ended", "ends_in_order", "to_stdout"]

NAMES = ("SIGTERM", "SIGHUP")


class Ended(KeyboardInterrupt):
    """The process was asked to end. It is handled where Ctrl-C is: outputs are closed, what was read is kept."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Ended in the block, once: more of them do not disturb the closing. A signal that is
    ignored (nohup) stays so."""
    before: dict[int, Any] = {}

    def end(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def to_stdout(show: Callable[[Console], None]) -> None:
    """Calls `show` with a console for stdout. Raises OutputLost where the text cannot be written (a full disk).

    Where the reader has gone (`aunet detect clip.mp4 | head -1`), or stdout was closed from the start, the rest of the
    text is lost and nothing else: that is no error.
    """
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:  # Rich would exit with 1
            raise BrokenPipeError

    if sys.stdout is None:
        return
    try:
        show(Pipe())
        sys.stdout.flush()
    except OSError as error:
        drop_stdout()
        if not isinstance(error, BrokenPipeError):
            raise OutputLost(f"stdout: cannot write to it: {error.strerror or error}") from error


def drop_stdout() -> None:
    """Everything that is still written to stdout goes nowhere; Python itself flushes it at exit."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
