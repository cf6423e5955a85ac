"""The choices of engine="auto" that are remembered: one JSON file in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from pathlib import Path
from typing import Any

from ...bundle import Bundle, sha256_of
from .trial import Trial

__all__ = ["FILE_NAME", "cpu_name", "key_of", "read", "write"]

log = logging.getLogger(__name__)

FILE_NAME = "engine_choice.json"
_MOST = 64


def cpu_name() -> str:
    """Model of the CPU with its number of usable cores, e.g. "Intel(R) Xeon(R) Processor, 2 cores"."""
    name = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return f"{name or platform.processor() or platform.machine()}, {cores} cores"


def key_of(bundle: Bundle, names: tuple[str, ...], threads: int | None, int8: Bundle | None = None) -> str:
    """What a choice depends on: the hashes of the bundle and of its INT8 form, the CPU, the threads, the candidates and
    the libraries' versions."""
    versions = []
    for package in ("aunet_sdk", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    digests = [each.sha256 or (sha256_of(each.path) if each.path else each.name) for each in (bundle, int8) if each]
    what = json.dumps([*digests, cpu_name(), threads, names, versions])
    return hashlib.sha256(what.encode()).hexdigest()


def read(file: Path) -> dict[str, Trial]:
    """Choices of the file; empty where it is missing, may not be read, is damaged or has another shape."""
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(key): Trial(
                str(value["engine"]),
                {str(k): float(v) for k, v in value["step_ms"].items()},
                {str(k): str(v) for k, v in value["passed_over"].items()},
            )
            for key, value in data.items()
        }
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the choice of engines in %s cannot be read and is measured again: %r", file, error)
        return {}


def write(file: Path, key: str, trial: Trial) -> None:
    """Add a choice; the file appears only when it is whole. What cannot be written is measured again next time."""
    kept = dict(list(read(file).items())[1 - _MOST :])
    kept[key] = trial
    data = {k: {"engine": t.engine, "step_ms": t.step_ms, "passed_over": t.passed_over} for k, t in kept.items()}
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        log.warning("the choice of the engine is not kept, %s cannot be written: %s", file, error)
