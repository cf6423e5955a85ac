"""Ctrl-C before there is anything to save."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def ctrl_c_exits() -> None:
    """From now on Ctrl-C ends the process with exit code 130 and without a traceback, while libraries are imported
    and the command line is read. A SIGINT that is ignored or handled already stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


@contextmanager
def ctrl_c_raises() -> Iterator[None]:
    """KeyboardInterrupt in the block, where `ctrl_c_exits` holds outside."""
    ours = signal.getsignal(signal.SIGINT) is _exit
    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(130)
