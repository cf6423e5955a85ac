"""What the machine tells about itself while it is measured: power, clocks, memory. Everything here may be absent.

Power: NVML (NVIDIA's driver library, by its C interface), INA sensors of a Jetson (hwmon in sysfs), and the counters of
the processor package (RAPL through powercap, often for root alone).
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

__all__ = ["GpuMemory", "PowerMeter", "device_facts", "driver_version", "forget_peak_memory", "peak_memory_mb"]

SAMPLE_S = 0.1


@dataclass(frozen=True)
class GpuMemory:
    """What is held on the GPU, MiB: by this process, on all GPUs, or else by all processes on the machine's only one"""

    peak_mb: float
    of_process: bool


class Sensor(Protocol):
    """One source of watts."""

    name: str

    def watts(self) -> float | None:
        """Now, or since the last call; None: no answer."""
        ...


class InaRail:
    """A rail of an INA sensor (Jetson): millivolts times milliamperes, or microwatts where it says so itself."""

    def __init__(self, name: str, current: Path, voltage: Path) -> None:
        self.name = name
        self._current, self._voltage = current, voltage

    def watts(self) -> float | None:
        milliamperes, millivolts = _read_number(self._current), _read_number(self._voltage)
        return None if milliamperes is None or millivolts is None else milliamperes * millivolts / 1e6


class RaplPackage:
    """A processor package: an energy counter that wraps around."""

    def __init__(self, folder: Path) -> None:
        self.name = f"cpu {(_read(folder / 'name') or folder.name)}"
        self._folder = folder
        self._range = _read_number(folder / "max_energy_range_uj") or 0.0
        self._last = (time.monotonic(), _read_number(folder / "energy_uj"))

    def watts(self) -> float | None:
        now, energy = time.monotonic(), _read_number(self._folder / "energy_uj")
        before, start = self._last
        self._last = now, energy
        if energy is None or start is None or now <= before:
            return None
        spent = energy - start
        return (spent if spent >= 0 else spent + self._range) / 1e6 / (now - before)


class _Memory(ctypes.Structure):
    """nvmlMemory_t, bytes."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t, bytes."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


_PROCESSES = 128
"""of one GPU that are looked at; where there are more NVML gives an error, and none is known"""
_NOT_TOLD = ctypes.c_ulonglong(-1).value


class NvmlDevice:
    """A GPU by NVML."""

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._handle)):
            raise OSError(f"no NVML device {index}")
        name = ctypes.create_string_buffer(96)
        library.nvmlDeviceGetName(self._handle, name, ctypes.c_uint(96))
        self.name = f"gpu {index} {name.value.decode(errors='replace')}".strip()

    def watts(self) -> float | None:
        milliwatts = ctypes.c_uint()
        if self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(milliwatts)):
            return None
        return milliwatts.value / 1e3

    def clock_mhz(self) -> int | None:
        """Of the streaming multiprocessors, now."""
        clock = ctypes.c_uint()
        if self._library.nvmlDeviceGetClockInfo(self._handle, 1, ctypes.byref(clock)):
            return None
        return clock.value

    def memory_mb(self) -> float | None:
        """In use by all processes, MiB."""
        memory = _Memory()
        if self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)):
            return None
        return float(memory.used) / 2**20

    def process_memory_mb(self) -> float | None:
        """In use by this process, MiB; None where NVML does not list it (no CUDA, or a container's own numbers)."""
        found, count = (_Process * _PROCESSES)(), ctypes.c_uint(_PROCESSES)
        if self._library.nvmlDeviceGetComputeRunningProcesses_v3(self._handle, ctypes.byref(count), found):
            return None
        used = [each.used for each in found[: count.value] if each.pid == os.getpid() and each.used != _NOT_TOLD]
        return sum(used) / 2**20 if used else None


def _nvml() -> Any:
    """The library, ready to be asked. Raises OSError or AttributeError where there is none."""
    library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    if library.nvmlInit_v2():
        raise OSError("NVML does not start")
    return library


def driver_version() -> str | None:
    """Of the NVIDIA driver itself, e.g. "550.54.15", by NVML; None where that does not answer."""
    text = ctypes.create_string_buffer(80)
    try:
        failed = _nvml().nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
    except (OSError, AttributeError):
        return None
    return None if failed else text.value.decode(errors="replace") or None


def _nvml_devices() -> list[NvmlDevice]:
    try:
        library = _nvml()
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        return [NvmlDevice(library, index) for index in range(count.value)]
    except (OSError, AttributeError):
        return []


def find_sensors(root: Path = Path("/")) -> list[Sensor]:
    """The sensors that answer. `root`: where sys/ lies."""
    sensors: list[Sensor] = []
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if not (_read(folder / "name") or "").startswith("ina"):
            continue
        for current in sorted(folder.glob("curr*_input")):
            number = current.name.removeprefix("curr").removesuffix("_input")
            label = _read(folder / f"in{number}_label") or f"{folder.name} rail {number}"
            sensors.append(InaRail(label, current, folder / f"in{number}_input"))
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        if folder.name.count(":") == 1 and _read_number(folder / "energy_uj") is not None:
            sensors.append(RaplPackage(folder))
    sensors = [sensor for sensor in sensors if isinstance(sensor, RaplPackage) or sensor.watts() is not None]
    return sensors + list(_nvml_devices() if root == Path("/") else ())


class PowerMeter:
    """Samples power and GPU memory ten times a second in a daemon thread, inside `with`; the memory at its ends, too.

    sensors: None: all that answer, and then the memory of the GPUs among them
    """

    def __init__(self, sensors: Sequence[Sensor] | None = None) -> None:
        self._sensors = list(find_sensors() if sensors is None else sensors)
        self._gpus = [sensor for sensor in self._sensors if isinstance(sensor, NvmlDevice)]
        self._watts: dict[str, list[float]] = {}
        self._process_mb: float | None = None
        self._device_mb: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PowerMeter:
        if self._sensors:
            self._look_at_memory()
            self._thread = threading.Thread(target=self._work, name="aunet-power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._look_at_memory()

    def _work(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._look_at_memory()
            for sensor in self._sensors:
                watts = sensor.watts()
                if watts is not None:
                    self._watts.setdefault(sensor.name, []).append(watts)

    def _look_at_memory(self) -> None:
        try:
            own = [mb for gpu in self._gpus if (mb := gpu.process_memory_mb()) is not None]
            every = self._gpus[0].memory_mb() if len(self._gpus) == 1 else None
        except AttributeError:  # an NVML without these calls
            self._gpus = []
            return
        if own:
            self._process_mb = max(sum(own), self._process_mb or 0.0)
        if every is not None:
            self._device_mb = max(every, self._device_mb or 0.0)

    def gpu_memory(self) -> GpuMemory | None:
        """The largest sample; None where no GPU answered, or several did and none lists this process."""
        if self._process_mb is not None:
            return GpuMemory(self._process_mb, of_process=True)
        return None if self._device_mb is None else GpuMemory(self._device_mb, of_process=False)

    def result(self) -> dict[str, dict[str, float]]:
        """By sensor: mean_w and max_w, watts; sensors without an answer are left out."""
        return {name: {"mean_w": sum(watts) / len(watts), "max_w": max(watts)} for name, watts in self._watts.items()}


def device_facts(root: Path = Path("/")) -> dict[str, str]:
    """Processor, cores, governor, clocks and load, as far as the system tells."""
    facts = {"processor": _processor(root), "cores": str(os.cpu_count() or 1)}
    cpus = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"))
    governors = sorted({text for cpu in cpus if (text := _read(cpu / "scaling_governor"))})
    facts["governor"] = ", ".join(governors) if governors else "not told"
    clocks = [value / 1e3 for cpu in cpus if (value := _read_number(cpu / "scaling_cur_freq")) is not None]
    if not clocks:
        lines = (_read(root / "proc/cpuinfo") or "").splitlines()
        clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    if clocks:
        facts["clock_mhz"] = (
            f"{min(clocks):.0f}" if max(clocks) - min(clocks) < 1 else f"{min(clocks):.0f}-{max(clocks):.0f}"
        )
    model = (_read(root / "proc/device-tree/model") or "").strip("\0")
    if model:
        facts["board"] = model
    if root == Path("/"):
        for gpu in _nvml_devices():
            clock = gpu.clock_mhz()
            facts[gpu.name] = "clock not told" if clock is None else f"{clock} MHz"
        if hasattr(os, "getloadavg"):
            facts["load"] = f"{os.getloadavg()[0]:.2f}"
    return facts


def _processor(root: Path) -> str:
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "not told"


def forget_peak_memory() -> None:
    """Start to count the peak anew, where the system lets us (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process, MiB, or None where the system does not tell."""
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _read_number(path: Path) -> float | None:
    text = _read(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
