"""What the machine reports about itself while it is measured: processor, clocks, memory. Everything may be absent."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from .._util import nvml
from .._util.system_files import read_number, read_text

__all__ = ["device_facts", "forget_peak_memory", "peak_memory_mb"]


def device_facts(root: Path = Path("/")) -> dict[str, str]:
    """Processor, cores, governor, clocks and load, as far as the system reports them."""
    facts = {"processor": _processor(root), "cores": str(os.cpu_count() or 1)}
    cpus = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"))
    governors = sorted({text for cpu in cpus if (text := read_text(cpu / "scaling_governor"))})
    facts["governor"] = ", ".join(governors) if governors else "not known"
    clocks = [value / 1e3 for cpu in cpus if (value := read_number(cpu / "scaling_cur_freq")) is not None]
    if not clocks:
        lines = (read_text(root / "proc/cpuinfo") or "").splitlines()
        clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    if clocks:
        facts["clock_mhz"] = (
            f"{min(clocks):.0f}" if max(clocks) - min(clocks) < 1 else f"{min(clocks):.0f}-{max(clocks):.0f}"
        )
    model = (read_text(root / "proc/device-tree/model") or "").strip("\0")
    if model:
        facts["board"] = model
    if root == Path("/"):
        for gpu in nvml.gpus():
            clock = gpu.clock_mhz()
            facts[gpu.name] = "clock not known" if clock is None else f"{clock} MHz"
        if hasattr(os, "getloadavg"):
            facts["load"] = f"{os.getloadavg()[0]:.2f}"
    return facts


def _processor(root: Path) -> str:
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "not known"


def forget_peak_memory() -> None:
    """Start to count the peak anew, where the system lets us (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process, MiB, or None where the system does not report it."""
    for line in (read_text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
