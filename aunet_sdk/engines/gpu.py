"""The engines that run on an NVIDIA GPU, by name. None of them is chosen by "auto": they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundle import Bundle
from ..errors import BackendUnavailable, InvalidInput
from .base import StreamEngine
from .engine_options import checked_options

__all__ = ["GPU_ENGINES", "describe_gpu_engines", "open_gpu_engine"]

GPU_ENGINES = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-tensorrt")


def open_gpu_engine(
    bundle: Bundle | str | Path | None, engine: str, *, max_faces: int = 8, options: Mapping[str, Any] | None = None
) -> StreamEngine:
    """The engine of that name; `options` are further arguments of TrtStreamEngine or OrtGpuStreamEngine.

    Raises InvalidInput (no such engine or option), BackendUnavailable (it cannot run here), ModelError.
    """
    if engine in ("tensorrt", "tensorrt-rtx"):
        from .trt import TrtStreamEngine

        given = checked_options(engine, TrtStreamEngine, options)
        return TrtStreamEngine(bundle, max_faces=max_faces, library=engine, **given)
    if engine in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        from .ort_gpu import OrtGpuStreamEngine

        given = checked_options(engine, OrtGpuStreamEngine, options)
        return OrtGpuStreamEngine(bundle, max_faces=max_faces, provider=engine.removeprefix("onnxruntime-"), **given)
    raise InvalidInput(f"engine: expected one of {', '.join(GPU_ENGINES)}, got {engine!r}")


def describe_gpu_engines() -> dict[str, str]:
    """Engine -> version, or "not available: why". Whether there is a GPU shows when one is opened."""
    from . import trt_api
    from .ort_session import PROVIDERS
    from .ort_wheel import import_runtime

    told = {name: trt_api.describe(name) for name in trt_api.LIBRARIES}
    try:
        ort = import_runtime()
        listed: tuple[str, ...] = tuple(ort.get_available_providers())
        version, why = ort.__version__, f"onnxruntime {ort.__version__} has no such provider; {_GPU_WHEEL}"
    except BackendUnavailable as error:
        listed, version, why = (), "", str(error)
    for provider in ("cuda", "tensorrt"):
        there = PROVIDERS[provider] in listed
        told[f"onnxruntime-{provider}"] = f"{version} (listed)" if there else f"not available: {why}"
    return told


_GPU_WHEEL = 'pip uninstall onnxruntime, then pip install "aunet_sdk[gpu]"'
