"""Sensors of a machine, from a tree of files as the kernel lays them out."""

from __future__ import annotations

import mmap
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from aunet_sdk._util.nvml import driver_version, gpus
from aunet_sdk.profiling.device import device_facts, forget_peak_memory, peak_memory_mb
from aunet_sdk.profiling.power import GpuMemory, PowerMeter, find_sensors


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


class NVMLError(Exception):
    """As pynvml has it."""


class FakeNvml(types.ModuleType):
    """pynvml's functions over GPUs that are not there: memory in bytes in use, and by process. `fails`: what raises."""

    NVML_CLOCK_SM = 1

    def __init__(self, *gpus: tuple[int, dict[int, int | None]], fails: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        self.gpus, self.fails = list(gpus), fails

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name.removeprefix("nvml") in object.__getattribute__(self, "fails"):

            def fail(*_: object) -> None:
                raise NVMLError("Function Not Found")

            return fail
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None: ...

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "H200"

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 90_000

    def nvmlDeviceGetClockInfo(self, handle: int, which: int) -> int:
        assert which == self.NVML_CLOCK_SM
        return 1980

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(used=self.gpus[handle][0])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.gpus[handle][1].items()]


def test_the_drivers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, expected in (
        (FakeNvml(), "550.54.15"),
        (FakeNvml(fails=("SystemGetDriverVersion",)), None),
        (FakeNvml(fails=("Init",)), None),
        (types.ModuleType("pynvml"), None),
        (None, None),
    ):
        monkeypatch.setitem(sys.modules, "pynvml", library)
        assert driver_version() == expected


def test_the_calls_are_those_of_the_real_package() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    assert all(hasattr(pynvml, name) for name in vars(FakeNvml) if name.lower().startswith("nvml"))
    if driver_version() is None:
        assert gpus() == []  # no driver here: the real package raises NVMLError, which is no error of ours
    else:
        assert all(gpu.name for gpu in gpus())


MIB = 2**20


@pytest.mark.parametrize(
    "library, expected",
    [
        (FakeNvml((900 * MIB, {os.getpid(): 300 * MIB, 1: 500 * MIB})), GpuMemory(300, of_process=True)),
        (FakeNvml((9 * MIB, {os.getpid(): 4 * MIB}), (8 * MIB, {os.getpid(): 2 * MIB})), GpuMemory(6, of_process=True)),
        (FakeNvml((900 * MIB, {1: 500 * MIB})), GpuMemory(900, of_process=False)),
        (FakeNvml((900 * MIB, {}), fails=("DeviceGetComputeRunningProcesses",)), GpuMemory(900, of_process=False)),
        (FakeNvml((900 * MIB, {os.getpid(): None})), GpuMemory(900, of_process=False)),  # not told (WDDM)
        (FakeNvml((900 * MIB, {}), (800 * MIB, {})), None),  # whose it is nobody knows
        (FakeNvml(), None),
        (FakeNvml((900 * MIB, {}), fails=("DeviceGetCount",)), None),
        (FakeNvml((900 * MIB, {}), fails=("DeviceGetMemoryInfo",)), None),
    ],
)
def test_gpu_memory(monkeypatch: pytest.MonkeyPatch, library: FakeNvml, expected: GpuMemory | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    with PowerMeter() as meter:
        pass
    assert meter.gpu_memory() == expected


def test_gpu_memory_is_the_largest_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml((0, {os.getpid(): 100 * MIB}))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    with PowerMeter() as meter:
        library.gpus[0] = 0, {os.getpid(): 700 * MIB}
        time.sleep(0.3)
        library.gpus[0] = 0, {os.getpid(): 200 * MIB}
    assert meter.gpu_memory() == GpuMemory(700, of_process=True)
    assert meter.result()["gpu 0 H200"]["max_w"] == 90.0
    assert device_facts()["gpu 0 H200"] == "1980 MHz"


def test_an_nvml_without_memory_calls_still_tells_power(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = ("DeviceGetComputeRunningProcesses", "DeviceGetMemoryInfo")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml((900 * MIB, {}), fails=fails))
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
    assert device_facts(tmp_path)["governor"] == "not known"
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
