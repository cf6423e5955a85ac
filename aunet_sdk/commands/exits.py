"""Exit codes of the `aunet` command, and how errors become one line on stderr. docs/exit-codes.md lists the codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from ..errors import AUNetError, BackendUnavailable, EngineMismatch, InvalidInput, ModelError, SourceLost


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
    """the input, or the annotated video, broke on the way; what was read until then is written"""
    INTERRUPTED = 130
    """Ctrl-C; what was read until then is written"""


def code_of(error: BaseException) -> Exit:
    """The exit code for an error."""
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, SourceLost):
        return Exit.BROKEN
    if isinstance(error, (ModelError, BackendUnavailable, EngineMismatch)):
        return Exit.MODEL
    if isinstance(error, (InvalidInput, OSError)):
        return Exit.INPUT
    return Exit.UNEXPECTED


def message_of(error: BaseException) -> str:
    """One line about an error."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split())
    if isinstance(error, AUNetError):
        return text
    if isinstance(error, OSError):
        return f"{error.strerror or text}: {error.filename}" if error.filename else text
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


@contextmanager
def guard(debug: bool = False) -> Iterator[None]:
    """Turns an error inside the block into a line on stderr and an exit code; with debug it passes through."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if debug and not isinstance(error, KeyboardInterrupt):
            raise
        sys.stderr.write(f"aunet: {message_of(error)}\n")
        raise SystemExit(int(code_of(error))) from None
