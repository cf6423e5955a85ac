"""Errors of the libraries that run the network, by the names of aunet_sdk."""

from __future__ import annotations

from .._util.interrupt import raise_if_interrupted
from ..errors import BackendUnavailable

__all__ = ["foreign_failure"]

_LONGEST = 400


def foreign_failure(what: str, error: Exception, todo: str) -> BackendUnavailable:
    """The error to raise in place of a library's own. what: "ENGINE to run a step"; todo: what the caller can do.

    Raises KeyboardInterrupt where that is what the library ran into."""
    raise_if_interrupted(error)
    text = " ".join(str(error).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    if isinstance(error, MemoryError):
        text, todo = f"too little memory {text}".strip(), f"free memory or lower max_faces; then {todo}"
    return BackendUnavailable(f"expected {what}, got {type(error).__name__}: {text}; {todo}")
