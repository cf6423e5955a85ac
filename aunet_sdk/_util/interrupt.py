"""Ctrl-C before there is anything to save. It imports next to nothing: until it is there, Ctrl-C prints a traceback."""

from __future__ import annotations

import os
import signal


def ctrl_c_exits() -> None:
    """From now on Ctrl-C ends the process with exit code 130 and without a traceback, while libraries are imported
    and the command line is read. A SIGINT that is ignored or handled already stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_if_interrupted(error: BaseException) -> None:
    """Raises the KeyboardInterrupt, or the child of it that stands for another signal, out of which a compiled library
    made `error`: Ctrl-C while such a library is imported comes out as an ImportError, "initialization failed", and
    nothing is missing then. What was merely being handled when `error` came up is not its cause."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return
        if isinstance(seen, KeyboardInterrupt):
            raise seen from None
        seen = seen.__cause__


class CtrlCRaises:
    """KeyboardInterrupt in the block, where `ctrl_c_exits` holds outside."""

    def __enter__(self) -> None:
        self._ours = signal.getsignal(signal.SIGINT) is _exit
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, _exit)


def _exit(number: int, frame: object) -> None:
    os._exit(130)
