"""NVIDIA GPUs as their driver tells of them, by NVML (the package nvidia-ml-py).

Where that package, the driver or the answer is missing nothing is known, and the functions give None or an empty list.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["Gpu", "driver_version", "gpus"]


class Gpu:
    """One GPU. name: "gpu 0 NVIDIA H100\""""

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self.name = f"gpu {index} {_asked(lambda: nvml.nvmlDeviceGetName(self._handle)) or ''}".strip()

    def watts(self) -> float | None:
        """Now."""
        milliwatts = _asked(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle))
        return None if milliwatts is None else milliwatts / 1e3

    def clock_mhz(self) -> int | None:
        """Of the streaming multiprocessors, now."""
        clock: int | None = _asked(lambda: self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM))
        return clock

    def memory_mb(self) -> float | None:
        """In use by all processes, MiB."""
        memory = _asked(lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return None if memory is None else memory.used / 2**20

    def process_memory_mb(self) -> float | None:
        """In use by this process, MiB; None where NVML does not list it (no CUDA, or a container's own numbers)."""
        processes = _asked(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)) or []
        used = [each.usedGpuMemory for each in processes if each.pid == os.getpid() and each.usedGpuMemory is not None]
        return sum(used) / 2**20 if used else None


def gpus() -> list[Gpu]:
    """Those of this machine."""
    nvml = _started()
    if nvml is None:
        return []
    return _asked(lambda: [Gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]) or []


def driver_version() -> str | None:
    """Of the NVIDIA driver itself, e.g. "550.54.15"."""
    nvml = _started()
    return None if nvml is None else _asked(nvml.nvmlSystemGetDriverVersion) or None


def _started() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml if _asked(lambda: [pynvml.nvmlInit()]) else None


def _asked(ask: Callable[[], Any]) -> Any:
    """The answer; None where there was an error: NVMLError, or a driver too old or new for the call."""
    try:
        answer = ask()
    except Exception:  # NVMLError's class is made by the package that may be missing
        return None
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
