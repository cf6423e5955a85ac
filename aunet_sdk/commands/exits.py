"""Exit codes of the `aunet` command, and how errors become one line on stderr. docs/exit-codes.md lists the codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from .._util.files import working_directory_is_gone
from .._util.interrupt import CtrlCRaises
from ..errors import AUNetError, BackendUnavailable, EngineMismatch, InvalidInput, ModelError, OutputLost, SourceLost
from .ending import Ended


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    UNEXPECTED = 1
    """an error that aunet_sdk did not foresee"""
    INPUT = 2
    """an argument, an input or an output path that cannot be used"""
    MODEL = 3
    """a model file that cannot be used, or an engine or library that is missing"""
    BROKEN = 4
    """the input or an output broke on the way; what was read until then is written"""
    HANGUP = 129
    """SIGHUP: the terminal has gone; what was read until then is written"""
    INTERRUPTED = 130
    """Ctrl-C; what was read until then is written"""
    TERMINATED = 143
    """SIGTERM; what was read until then is written"""


BY_WEIGHT = (Exit.OK, Exit.INPUT, Exit.BROKEN, Exit.MODEL, Exit.UNEXPECTED)


def worst(codes: Iterable[Exit]) -> Exit:
    """The code of several inputs: the one of a signal, else the last one of 0, 2, 4, 3, 1."""
    return max(codes, key=lambda code: BY_WEIGHT.index(code) if code in BY_WEIGHT else len(BY_WEIGHT), default=Exit.OK)


def code_of(error: BaseException) -> Exit:
    """The exit code for an error."""
    if isinstance(error, Ended):
        return Exit(128 + error.signal)
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, (SourceLost, OutputLost)):
        return Exit.BROKEN
    if isinstance(error, (ModelError, BackendUnavailable, EngineMismatch)):
        return Exit.MODEL
    if isinstance(error, (InvalidInput, OSError)):
        return Exit.INPUT
    return Exit.UNEXPECTED


def message_of(error: BaseException) -> str:
    """One line about an error."""
    if isinstance(error, Ended):
        return f"ended by {error.signal.name}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split())
    if isinstance(error, AUNetError):
        return text
    if isinstance(error, OSError):
        if not error.filename and working_directory_is_gone():
            return (
                f"the working directory does not exist any more: change to one that exists ({error.strerror or text})"
            )
        return f"{error.strerror or text}: {error.filename}" if error.filename else text
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


def tell(text: str) -> None:
    """One line on stderr, if anybody reads it."""
    try:
        sys.stderr.write(f"aunet: {text}\n")
    except (OSError, ValueError, AttributeError):  # closed, or there was none from the start
        pass


@contextmanager
def guard(debug: bool = False) -> Iterator[None]:
    """Turns an error inside the block into a line on stderr and an exit code; with debug it passes through."""
    try:
        with CtrlCRaises():
            yield
    except (Exception, KeyboardInterrupt) as error:
        if debug and not isinstance(error, KeyboardInterrupt):
            raise
        tell(message_of(error))
        raise SystemExit(int(code_of(error))) from None
