"""Engines run a bundle's `stream` graph; `open_engine` chooses one. Nothing heavy is imported before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..errors import InvalidInput
from .base import NEW, Query, Slot, StepResult, StreamEngine
from .engine_options import checked_options
from .gpu import GPU_ENGINES, describe_gpu_engines, open_gpu_engine

__all__ = ["NEW", "Query", "Slot", "StepResult", "StreamEngine", "available_engines", "open_engine"]

ENGINES = ("auto", "onnxruntime", "openvino", "openvino-bf16", *GPU_ENGINES)

log = logging.getLogger(__name__)


def available_engines() -> dict[str, str]:
    """Engine name -> what it would run on, or "not available: why"."""
    from . import openvino, ort

    return {"onnxruntime": ort.describe(), "openvino": openvino.describe(), **describe_gpu_engines()}


def open_engine(
    bundle: Bundle | str | Path | None = None,
    engine: str = "auto",
    *,
    max_faces: int = 8,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> StreamEngine:
    """The engine for `bundle` (None: the default bundle).

    engine: "auto" (the fastest on the CPU, by a short trial that is remembered: engines/auto.py), "onnxruntime",
        "openvino", or "openvino-bf16" (faster on some CPUs, probabilities differ in the second decimal),
        "tensorrt", "tensorrt-rtx", "onnxruntime-cuda" or "onnxruntime-tensorrt" on an NVIDIA GPU (docs/engines.md)
    threads: None is the engine's own choice
    options: further keyword arguments of the engine's class, {"graphs": False} for "tensorrt"; none with "auto"

    Raises InvalidInput, ModelError or BackendUnavailable; never runs on something else than what was asked for.
    """
    if engine not in ENGINES:
        raise InvalidInput(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
    if options and engine == "auto":
        raise InvalidInput(
            f"engine_options: expected an engine by name, got 'auto' with {', '.join(map(str, options))}"
        )
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)

    def onnxruntime() -> StreamEngine:
        from .ort import OrtStreamEngine

        given = checked_options(engine, OrtStreamEngine, options)
        return OrtStreamEngine(bundle, max_faces=max_faces, threads=threads, **given)

    def openvino(precision: str = "fp32") -> StreamEngine:
        from .openvino import OpenVinoStreamEngine

        given = checked_options(engine, OpenVinoStreamEngine, options)
        return OpenVinoStreamEngine(bundle, max_faces=max_faces, threads=threads, precision=precision, **given)

    if engine == "auto":
        from .auto import choose, installed

        candidates: dict[str, Callable[[], StreamEngine]] = {"onnxruntime": onnxruntime}
        if installed("openvino"):
            candidates["openvino"] = openvino
        opened, _ = choose(bundle, candidates, threads=threads)
    elif engine == "onnxruntime":
        opened = onnxruntime()
    elif engine in GPU_ENGINES:
        opened = open_gpu_engine(bundle, engine, max_faces=max_faces, options=options)
    else:
        opened = openvino("bf16" if engine == "openvino-bf16" else "fp32")
    log.info("engine %s on %s", opened.name, ", ".join(opened.providers))
    return opened
