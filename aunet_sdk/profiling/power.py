"""Watts and GPU memory while something is measured. Every source of them may be absent.

Power: NVML (NVIDIA's driver), INA sensors of a Jetson (hwmon in sysfs), and the counters of the processor package (RAPL
through powercap, often for root alone).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from .._util import nvml
from .._util.system_files import read_number, read_text

__all__ = ["GpuMemory", "PowerMeter", "find_sensors"]

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
        milliamperes, millivolts = read_number(self._current), read_number(self._voltage)
        return None if milliamperes is None or millivolts is None else milliamperes * millivolts / 1e6


class RaplPackage:
    """A processor package: an energy counter that wraps around."""

    def __init__(self, folder: Path) -> None:
        self.name = f"cpu {(read_text(folder / 'name') or folder.name)}"
        self._folder = folder
        self._range = read_number(folder / "max_energy_range_uj") or 0.0
        self._last = (time.monotonic(), read_number(folder / "energy_uj"))

    def watts(self) -> float | None:
        now, energy = time.monotonic(), read_number(self._folder / "energy_uj")
        before, start = self._last
        self._last = now, energy
        if energy is None or start is None or now <= before:
            return None
        spent = energy - start
        return (spent if spent >= 0 else spent + self._range) / 1e6 / (now - before)


def find_sensors(root: Path = Path("/")) -> list[Sensor]:
    """The sensors that answer. `root`: where sys/ lies."""
    sensors: list[Sensor] = []
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if not (read_text(folder / "name") or "").startswith("ina"):
            continue
        for current in sorted(folder.glob("curr*_input")):
            number = current.name.removeprefix("curr").removesuffix("_input")
            label = read_text(folder / f"in{number}_label") or f"{folder.name} rail {number}"
            sensors.append(InaRail(label, current, folder / f"in{number}_input"))
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        if folder.name.count(":") == 1 and read_number(folder / "energy_uj") is not None:
            sensors.append(RaplPackage(folder))
    sensors = [sensor for sensor in sensors if isinstance(sensor, RaplPackage) or sensor.watts() is not None]
    return sensors + list(nvml.gpus() if root == Path("/") else ())


class PowerMeter:
    """Samples power and GPU memory ten times a second in a daemon thread, inside `with`; the memory at its ends, too.

    sensors: None: all that answer, and then the memory of the GPUs among them
    """

    def __init__(self, sensors: Sequence[Sensor] | None = None) -> None:
        self._sensors = list(find_sensors() if sensors is None else sensors)
        self._gpus = [sensor for sensor in self._sensors if isinstance(sensor, nvml.Gpu)]
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
        own = [mb for gpu in self._gpus if (mb := gpu.process_memory_mb()) is not None]
        every = self._gpus[0].memory_mb() if len(self._gpus) == 1 else None
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
