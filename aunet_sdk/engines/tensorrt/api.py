"""Which parts of TensorRT's Python API the engine uses, and how the library is found.

One code path serves TensorRT 10.3 (JetPack 6) to 11.x, and NVIDIA's TensorRT-RTX, whose module has the same shape. The
tables are what the tests compare with the real bindings of those versions, and what is checked when it is loaded.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from types import ModuleType
from typing import Any

from ...errors import BackendUnavailable, EngineMismatch, InvalidInput
from ..cuda.api import tells_of_memory

__all__ = [
    "LIBRARIES",
    "OPTIONAL",
    "REQUIRED",
    "describe",
    "last_errors",
    "library_name",
    "load",
    "logger_of",
    "missing",
]

log = logging.getLogger(__name__)

LIBRARIES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}

REQUIRED: dict[str, tuple[str, ...]] = {
    "Builder": ("build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile"),
    "IBuilderConfig": (
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "progress_monitor",
        "set_memory_pool_limit",
        "set_timing_cache",
    ),
    "IOptimizationProfile": ("set_shape",),
    "INetworkDefinition": ("get_input", "get_layer", "num_inputs", "num_layers"),
    "ILayer": ("get_output", "num_outputs", "type"),
    "ITensor": ("dtype", "name", "shape"),
    "OnnxParser": ("get_error", "num_errors", "parse_from_file"),
    "ParserError": ("desc", "node_name", "node_operator"),
    "ITimingCache": ("serialize",),
    "IProgressMonitor": ("phase_finish", "phase_start", "step_complete"),
    "ILogger": ("log",),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "get_tensor_shape",
        "num_io_tensors",
    ),
    "IExecutionContext": ("execute_async_v3", "infer_shapes", "set_input_shape", "set_tensor_address"),
    "BuilderFlag": ("TF32",),
    "DataType": ("FLOAT", "HALF", "INT64"),
    "Logger": ("ERROR", "INFO", "INTERNAL_ERROR", "WARNING"),
    "MemoryPoolType": ("WORKSPACE",),
    "NetworkDefinitionCreationFlag": (),
    "TensorIOMode": ("INPUT",),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    # TensorRT-RTX builds for GPUs that are not there
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": (),
    # on 10.x without effect (EXPLICIT_BATCH) or needed (STRONGLY_TYPED); 11 has the second as a rule
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
}


def missing(trt: Any) -> list[str]:
    """What `trt` lacks of REQUIRED: "Class" or "Class.attribute"."""
    lacking = []
    for owner, names in REQUIRED.items():
        if not hasattr(trt, owner):
            lacking.append(owner)
        else:
            lacking += [f"{owner}.{name}" for name in names if not hasattr(getattr(trt, owner), name)]
    return lacking


def load(library: str | ModuleType = "tensorrt") -> Any:
    """The module of "tensorrt" or "tensorrt-rtx", or the given module itself, checked.

    Raises InvalidInput (no such library), BackendUnavailable (not installed), EngineMismatch (a version that lacks
    what is needed).
    """
    if isinstance(library, str):
        if library not in LIBRARIES:
            raise InvalidInput(f"library: expected one of {', '.join(LIBRARIES)}, got {library!r}")
        module = _import(library)
    else:
        module = library
    lacking = missing(module)
    if lacking:
        raise EngineMismatch(
            f"expected TensorRT 10.3 or newer, got {library_name(module)} without {', '.join(lacking[:4])}; update it"
        )
    return module


def _import(library: str) -> Any:
    reasons = []
    for name in LIBRARIES[library]:
        try:
            return importlib.import_module(name)
        except Exception as error:  # a stub package may raise anything when its libraries are missing
            reasons.append(f"{name}: {type(error).__name__}: {error}")
    hint = (
        "on a Jetson it is part of JetPack (apt install python3-libnvinfer, and a virtual environment made with "
        '--system-site-packages); elsewhere pip install "aunet_sdk[trt]" with access to NVIDIA\'s package index'
        if library == "tensorrt"
        else "pip install tensorrt-rtx-cu13 cuda-bindings"
    )
    raise BackendUnavailable(f"expected {library}, got {'; '.join(reasons)}; {hint}")


def library_name(trt: Any) -> str:
    """ "tensorrt 10.3.0", "tensorrt-rtx 1.7.1"; other modules by their own name."""
    name = getattr(trt, "__name__", "tensorrt").split(".")[0]
    for library, modules in LIBRARIES.items():
        if name in modules:
            name = library
    return f"{name} {getattr(trt, '__version__', '?')}"


def describe(library: str = "tensorrt") -> str:
    """Version, or why it is not there; whether a GPU is shows when an engine is opened."""
    try:
        return library_name(load(library))
    except (BackendUnavailable, EngineMismatch) as error:
        return f"not available: {error}"


_loggers: dict[int, Any] = {}


def logger_of(trt: Any) -> Any:
    """The one logger that everything of this module shares: TensorRT wants that. `last_errors()` gives its errors."""
    if id(trt) not in _loggers:
        levels = {
            trt.Logger.INTERNAL_ERROR: logging.ERROR,
            trt.Logger.ERROR: logging.ERROR,
            trt.Logger.WARNING: logging.DEBUG,  # of use to developers of graphs alone
            trt.Logger.INFO: logging.DEBUG,
        }

        class Forward(trt.ILogger):
            """TensorRT's messages -> Python's logging."""

            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: deque[str] = deque(maxlen=4)
                self.memory = ""

            def log(self, severity: Any, message: str) -> None:
                level = levels.get(severity, logging.NOTSET)
                if level >= logging.ERROR:
                    text = " ".join(message.split())
                    self.errors.append(text)
                    self.memory = self.memory or (text if tells_of_memory(text) else "")
                if level:
                    log.log(logging.DEBUG if level >= logging.ERROR else level, "%s", message)

        _loggers[id(trt)] = Forward()
    return _loggers[id(trt)]


def last_errors(trt: Any) -> str:
    """The last errors that the library logged since this was asked last, for an error message. The first that is
    about memory is among them: those that follow from it say less."""
    logger = logger_of(trt)
    lines = [] if not logger.memory or logger.memory in logger.errors else [logger.memory]
    text = "; ".join([*lines, *logger.errors])
    logger.errors.clear()
    logger.memory = ""
    return text or "no reason given"
