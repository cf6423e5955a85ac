"""Engines by name: which there are, what they would run on, and how one is opened. Nothing heavy is imported before it
is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..bundle import Bundle, int8_beside
from ..errors import AUNetError, BackendUnavailable, InvalidInput
from .base import StreamEngine
from .failures import foreign_failure
from .options import checked_options

__all__ = [
    "ENGINES",
    "GPU_ENGINES",
    "available_engines",
    "describe_gpu_engines",
    "open_engine",
    "open_gpu_engine",
]

GPU_ENGINES = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-tensorrt")
"""on an NVIDIA GPU; "auto" chooses none of them: the user names them"""
ENGINES = ("auto", "onnxruntime", "openvino", "openvino-bf16", "triton", *GPU_ENGINES)

_GPU_WHEEL = 'pip uninstall onnxruntime, then pip install "aunet_sdk[gpu]"'

log = logging.getLogger(__name__)


def available_engines() -> dict[str, str]:
    """Engine name -> what it would run on, or "not available: why"."""
    from .cpu import openvino, ort
    from .triton import engine as triton

    told = {"onnxruntime": ort.describe(), "openvino": openvino.describe(), **describe_gpu_engines()}
    return {**told, "triton": triton.describe()}


def open_engine(
    bundle: Bundle | str | Path | None = None,
    engine: str = "auto",
    *,
    max_faces: int = 8,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> StreamEngine:
    """The engine for `bundle` (None: the default bundle).

    engine: "auto" (the fastest on the CPU, by a short trial that is remembered: engines/cpu/auto.py; also of the INT8
        form that may lie beside the bundle, whose `bundle` the engine has then), "onnxruntime",
        "openvino", or "openvino-bf16" (faster on some CPUs, probabilities differ in the second decimal),
        "tensorrt", "tensorrt-rtx", "onnxruntime-cuda" or "onnxruntime-tensorrt" on an NVIDIA GPU, or "triton" in a
        Triton Inference Server (docs/engines/choosing.md)
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

    def onnxruntime(of: Bundle = bundle) -> StreamEngine:
        from .cpu.ort import OrtStreamEngine

        given = checked_options(engine, OrtStreamEngine, options)
        return OrtStreamEngine(of, max_faces=max_faces, threads=threads, **given)

    def openvino(precision: str = "fp32", of: Bundle = bundle) -> StreamEngine:
        from .cpu.openvino import OpenVinoStreamEngine

        given = checked_options(engine, OpenVinoStreamEngine, options)
        return OpenVinoStreamEngine(of, max_faces=max_faces, threads=threads, precision=precision, **given)

    if engine == "auto":
        from .cpu.auto import choose, installed

        candidates: dict[str, Callable[[], StreamEngine]] = {"onnxruntime": onnxruntime}
        if installed("openvino"):
            candidates["openvino"] = openvino
        small = _int8_of(bundle)
        if small is not None:
            candidates["onnxruntime, int8"] = lambda: onnxruntime(small)
            if installed("openvino"):
                candidates["openvino, int8"] = lambda: openvino(of=small)
        opened, _ = choose(bundle, candidates, threads=threads, int8=small)
    else:
        try:
            if engine == "onnxruntime":
                opened = onnxruntime()
            elif engine == "triton":
                from .triton.engine import TritonStreamEngine

                given = checked_options(engine, TritonStreamEngine, options)
                opened = TritonStreamEngine(bundle, max_faces=max_faces, **given)
            elif engine in GPU_ENGINES:
                opened = open_gpu_engine(bundle, engine, max_faces=max_faces, options=options)
            else:
                opened = openvino("bf16" if engine == "openvino-bf16" else "fp32")
        except AUNetError:
            raise
        except Exception as error:  # a library's own, whose kinds share no base class
            todo = "reinstall its library, or name another engine"
            raise foreign_failure(f"engine {engine} to open", error, todo) from error
    log.info("engine %s on %s", opened.name, ", ".join(opened.providers))
    return opened


def _int8_of(bundle: Bundle) -> Bundle | None:
    """The INT8 form beside the bundle, for "auto"; one that cannot be read is passed over with a warning."""
    try:
        return int8_beside(bundle)
    except AUNetError as error:
        log.warning("the INT8 form beside %s is passed over: %s", bundle.name, error)
        return None


def open_gpu_engine(
    bundle: Bundle | str | Path | None, engine: str, *, max_faces: int = 8, options: Mapping[str, Any] | None = None
) -> StreamEngine:
    """The engine of that name; `options` are further arguments of TrtStreamEngine or OrtGpuStreamEngine.

    Raises InvalidInput (no such engine or option), BackendUnavailable (it cannot run here), ModelError.
    """
    if engine in ("tensorrt", "tensorrt-rtx"):
        from .tensorrt.engine import TrtStreamEngine

        given = checked_options(engine, TrtStreamEngine, options)
        return TrtStreamEngine(bundle, max_faces=max_faces, library=engine, **given)
    if engine in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        from .cuda.ort import OrtGpuStreamEngine

        given = checked_options(engine, OrtGpuStreamEngine, options)
        return OrtGpuStreamEngine(bundle, max_faces=max_faces, provider=engine.removeprefix("onnxruntime-"), **given)
    raise InvalidInput(f"engine: expected one of {', '.join(GPU_ENGINES)}, got {engine!r}")


def describe_gpu_engines() -> dict[str, str]:
    """Engine -> version, or "not available: why". Whether there is a GPU shows when one is opened."""
    from .cuda.ort_session import PROVIDERS
    from .ort_wheel import import_runtime
    from .tensorrt import api as trt_api

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
