"""Sensors of a machine, from a tree of files as the kernel lays them out."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Any

import pytest

from aunet_sdk.profiling.device import (
    GpuMemory,
    PowerMeter,
    device_facts,
    driver_version,
    find_sensors,
    forget_peak_memory,
    peak_memory_mb,
)


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """hwmon of an INA3221 (JetPack 5 and 6), beside a sensor that is none."""
    ina = tmp_path / "sys/class/hwmon/hwmon3"
    write(ina / "name", "ina3221")
    for number, label, milliamperes, millivolts in ((1, "VDD_IN", 1500, 5000), (2, "VDD_CPU_GPU_CV", 400, 5000)):
        write(ina / f"in{number}_label", label)
        write(ina / f"curr{number}_input", milliamperes)
        write(ina / f"in{number}_input", millivolts)
    write(ina / "curr4_input", 7)  # a sum without a voltage: no rail
    write(tmp_path / "sys/class/hwmon/hwmon0/name", "thermal")
    write(tmp_path / "sys/class/hwmon/hwmon0/curr1_input", 1)
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0")
    for cpu, clock in ((0, 1510400), (1, 729600)):
        write(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "schedutil")
        write(tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", clock)
    return tmp_path


def test_ina_rails(jetson: Path) -> None:
    sensors = find_sensors(jetson)
    assert {sensor.name: sensor.watts() for sensor in sensors} == {"VDD_IN": 7.5, "VDD_CPU_GPU_CV": 2.0}
    with PowerMeter(sensors) as meter:
        time.sleep(0.15)
        write(jetson / "sys/class/hwmon/hwmon3/curr1_input", 3000)
        time.sleep(0.4)
    watts = meter.result()
    assert watts["VDD_CPU_GPU_CV"] == {"mean_w": 2.0, "max_w": 2.0}
    assert 7.5 < watts["VDD_IN"]["mean_w"] <= watts["VDD_IN"]["max_w"] == 15.0


def test_a_rail_that_falls_silent_is_left_out(jetson: Path) -> None:
    sensors = find_sensors(jetson)
    (jetson / "sys/class/hwmon/hwmon3/curr1_input").unlink()
    with PowerMeter(sensors) as meter:
        time.sleep(0.3)
    assert list(meter.result()) == ["VDD_CPU_GPU_CV"]


class FakeNvml:
    """In the shape of NVML's library, as far as the driver's version goes."""

    def __init__(self, version: bytes, failed: int = 0, starts: bool = True) -> None:
        self._version, self._failed, self._starts = version, failed, starts

    def nvmlInit_v2(self) -> int:
        return 0 if self._starts else 9

    def nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> int:
        assert size.value == len(text)
        text.value = self._version
        return self._failed


def test_the_drivers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    for library, expected in (
        (lambda name: FakeNvml(b"550.54.15"), "550.54.15"),
        (lambda name: FakeNvml(b"550.54.15", failed=3), None),
        (lambda name: FakeNvml(b"550.54.15", starts=False), None),
        (lambda name: object(), None),
        (missing, None),
    ):
        monkeypatch.setattr("ctypes.CDLL", library)
        assert driver_version() == expected


class FakeGpus(FakeNvml):
    """GPUs with a power, and memory in bytes: in use, and by process."""

    def __init__(self, *gpus: tuple[int, dict[int, int]], lists: bool = True) -> None:
        super().__init__(b"550.54.15")
        self.gpus = list(gpus)
        self._lists = lists

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = index + 1
        return 0

    def nvmlDeviceGetName(self, handle: Any, name: Any, size: Any) -> int:
        name.value = b"H200"
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: Any, milliwatts: Any) -> int:
        milliwatts._obj.value = 90_000
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.used = self.gpus[handle.value - 1][0]
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, found: Any) -> int:
        if not self._lists:
            return 3
        processes = self.gpus[handle.value - 1][1]
        assert count._obj.value >= len(processes)
        for row, (pid, used) in zip(found, processes.items(), strict=False):
            row.pid, row.used = pid, used
        count._obj.value = len(processes)
        return 0


MIB = 2**20


@pytest.mark.parametrize(
    "library, expected",
    [
        (FakeGpus((900 * MIB, {os.getpid(): 300 * MIB, 1: 500 * MIB})), GpuMemory(300, of_process=True)),
        (FakeGpus((9 * MIB, {os.getpid(): 4 * MIB}), (8 * MIB, {os.getpid(): 2 * MIB})), GpuMemory(6, of_process=True)),
        (FakeGpus((900 * MIB, {1: 500 * MIB})), GpuMemory(900, of_process=False)),
        (FakeGpus((900 * MIB, {}), lists=False), GpuMemory(900, of_process=False)),
        (FakeGpus((900 * MIB, {os.getpid(): 2**64 - 1})), GpuMemory(900, of_process=False)),  # not told (WDDM)
        (FakeGpus((900 * MIB, {}), (800 * MIB, {})), None),  # whose it is nobody knows
        (FakeGpus(), None),
        (FakeNvml(b"550.54.15"), None),  # an NVML without GPUs' calls
    ],
)
def test_gpu_memory(monkeypatch: pytest.MonkeyPatch, library: FakeNvml, expected: GpuMemory | None) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    with PowerMeter() as meter:
        pass
    assert meter.gpu_memory() == expected


def test_gpu_memory_is_the_largest_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeGpus((0, {os.getpid(): 100 * MIB}))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    with PowerMeter() as meter:
        library.gpus[0] = 0, {os.getpid(): 700 * MIB}
        time.sleep(0.3)
        library.gpus[0] = 0, {os.getpid(): 200 * MIB}
    assert meter.gpu_memory() == GpuMemory(700, of_process=True)
    assert meter.result()["gpu 0 H200"]["max_w"] == 90.0


def test_an_nvml_without_memory_calls_still_tells_power(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeGpus((900 * MIB, {}))
    monkeypatch.setattr(FakeGpus, "nvmlDeviceGetComputeRunningProcesses_v3", property())
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    with PowerMeter() as meter:
        time.sleep(0.3)
    assert meter.gpu_memory() is None and "gpu 0 H200" in meter.result()


def test_clocks_and_governor(jetson: Path) -> None:
    facts = device_facts(jetson)
    assert facts["governor"] == "schedutil" and facts["clock_mhz"] == "730-1510"
    assert facts["board"] == "NVIDIA Jetson Orin Nano"


def test_the_energy_counter_of_a_package_wraps_around(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/powercap/intel-rapl:0"
    write(folder / "name", "package-0")
    write(folder / "max_energy_range_uj", 1_000_000)
    write(folder / "energy_uj", 900_000)
    write(tmp_path / "sys/class/powercap/intel-rapl:0:0/energy_uj", 5)  # a part of it, not counted twice
    (sensor,) = find_sensors(tmp_path)
    start_s = time.monotonic()
    time.sleep(0.05)
    write(folder / "energy_uj", 400_000)  # 0.5 J on, through the wrap
    watts = sensor.watts()
    spent_s = time.monotonic() - start_s
    assert sensor.name == "cpu package-0" and watts is not None
    assert 0.5 / spent_s * 0.8 <= watts <= 0.5 / 0.05 * 1.2


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert find_sensors(tmp_path) == []
    assert device_facts(tmp_path)["governor"] == "not told"
    with PowerMeter([]) as meter:
        pass
    assert meter.result() == {}


def test_this_machine() -> None:
    facts = device_facts()
    assert facts["processor"] and int(facts["cores"]) >= 1
    forget_peak_memory()
    before = peak_memory_mb()
    with mmap.mmap(-1, 64 << 20) as block:  # fresh pages: an allocator may have such a block at hand already
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        after = peak_memory_mb()
    assert before is None or (after is not None and after - before > 40)
