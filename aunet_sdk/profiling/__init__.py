"""Where the time goes: stage timers of every frame, and `profile`, which measures a detector on frames.

The measuring parts are loaded when they are first used: a detector needs the timers alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pipeline.stage_timer import STAGES, StageTimer
from .timers import LatencyLog, Summary, summarise

if TYPE_CHECKING:
    from .measure import compare, profile
    from .report import Comparison, Profile
    from .synthetic import SyntheticFrames

__all__ = [
    "STAGES",
    "Comparison",
    "LatencyLog",
    "Profile",
    "StageTimer",
    "Summary",
    "SyntheticFrames",
    "compare",
    "profile",
    "summarise",
]

_LATER = {
    "Comparison": "report",
    "Profile": "report",
    "SyntheticFrames": "synthetic",
    "compare": "measure",
    "profile": "measure",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
