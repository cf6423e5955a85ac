"""What made a result: the engine, what it ran on, in which arithmetic, and the versions of the libraries."""

from __future__ import annotations

import importlib.metadata

from .. import __version__
from .base import StreamEngine

__all__ = ["facts"]

_LIBRARIES = {
    "triton": ("tritonclient",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "cuda-bindings", "pycuda"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "cuda-bindings", "pycuda"),
}


def facts(engine: StreamEngine) -> dict[str, str]:
    """Of an engine, for the record beside an output.

    name: of the engine; providers: what runs it, first choice first; precision: what the graph computes in ("fp32",
    "fp16", "int8", "int8-symmetric", "bf16"); versions: "aunet_sdk 0.1.0, onnxruntime 1.32.0" of the installed packages
    """
    family = max((known for known in _LIBRARIES if engine.name.startswith(known)), key=len, default="")
    versions = [f"aunet_sdk {__version__}"]
    for package in (*_LIBRARIES.get(family, ()), "numpy"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "name": engine.name,
        "providers": ", ".join(engine.providers),
        "precision": str(getattr(engine, "precision", engine.bundle.arithmetic)),
        "versions": ", ".join(versions),
    }
