"""Engines run a bundle's `stream` graph; `open_engine` chooses one."""

from __future__ import annotations

from .base import NEW, Query, Slot, StepResult, StreamEngine, StreamStates
from .description import facts
from .registry import available_engines, open_engine

__all__ = [
    "NEW",
    "Query",
    "Slot",
    "StepResult",
    "StreamEngine",
    "StreamStates",
    "available_engines",
    "facts",
    "open_engine",
]
