"""Engines run a bundle's `stream` graph; `open_engine` chooses one. Nothing heavy is imported before it is used."""

from __future__ import annotations

import logging
from pathlib import Path

from ..bundle import Bundle
from ..errors import InvalidInput
from .base import NEW, Query, Slot, StepResult, StreamEngine

__all__ = ["NEW", "Query", "Slot", "StepResult", "StreamEngine", "available_engines", "open_engine"]

log = logging.getLogger(__name__)


def available_engines() -> dict[str, str]:
    """Engine name -> what it would run on, or "not available: why"."""
    from .ort import describe

    return {"onnxruntime": describe()}


def open_engine(
    bundle: Bundle | str | Path | None = None, engine: str = "auto", *, max_faces: int = 8, threads: int | None = None
) -> StreamEngine:
    """The engine for `bundle` (None: the default bundle).

    engine: "auto" (ONNX Runtime on the CPU, the only one so far) or "onnxruntime"
    threads: None is the engine's own choice

    Raises InvalidInput, ModelError or BackendUnavailable; never runs on something else than what was asked for.
    """
    if engine not in ("auto", "onnxruntime"):
        raise InvalidInput(f"engine: expected auto or onnxruntime, got {engine!r}")
    from .ort import OrtStreamEngine

    opened = OrtStreamEngine(bundle, max_faces=max_faces, threads=threads)
    log.info("engine %s on %s", opened.name, ", ".join(opened.providers))
    return opened
