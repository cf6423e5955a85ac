"""engine="auto": the fastest CPU engine of those installed, found by a short measured trial and remembered.

ONNX Runtime is the standard: another engine is taken where its answers agree with ONNX Runtime's within the gates of
docs/export.md and it is at least 5 per cent faster; where ONNX Runtime needs less than 5 ms for a face the others are
not even opened, since that takes longer than it could give back. The choice is kept in the user's cache folder under
the bundle's hash, the CPU, the threads and the versions; it is measured again when any of these changes.
GPU engines are never chosen by themselves: they hold the device and may build for minutes. Ask for them by name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.paths import cache_folder
from ...bundle import Bundle, sha256_of
from ...errors import AUNetError, BackendUnavailable
from ..base import NEW, Query, Slot, StreamEngine

__all__ = ["GATES", "Trial", "choose", "cpu_name", "measure"]

log = logging.getLogger(__name__)

GATES = {"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-2}
"""Largest probability difference between two engines on the trial's crops, by the bundle's precision."""
ADVANTAGE = 0.95
ENOUGH_MS = 5.0
_TURNS, _TURN_S = 7, 0.02

Open = Callable[[], StreamEngine]


@dataclass(frozen=True)
class Trial:
    """engine: the one chosen; step_ms: per engine that ran, median time of a step with one face and one decision
    passed_over: engine -> why, for those not chosen"""

    engine: str
    step_ms: dict[str, float]
    passed_over: dict[str, str]


def choose(
    bundle: Bundle, candidates: dict[str, Open], *, threads: int | None = None, folder: str | Path | None = None
) -> tuple[StreamEngine, Trial]:
    """The engine to use, open, and why.

    Args:
        bundle: a `stream` bundle with a path.
        candidates: engine name -> how to open it; the first is the standard that others are compared with.
        threads: part of the key alone.
        folder: where choices are kept; None: the user's cache folder.

    Raises what the standard raises where no candidate can be opened.
    """
    if len(candidates) == 1:
        name = next(iter(candidates))
        return candidates[name](), Trial(name, {}, {})
    file = (Path(folder) if folder is not None else cache_folder()) / "engine_choice.json"
    key = _key(bundle, tuple(candidates), threads)
    known = _read(file).get(key)
    if known is not None and known.engine in candidates:
        try:
            engine = candidates[known.engine]()
        except AUNetError as error:
            log.warning("engine %s was the fastest before and cannot be opened now: %s", known.engine, error)
        else:
            log.info("engine %s, as measured before: %s", known.engine, _because(known))
            return engine, known
    engine, trial = measure(bundle, candidates)
    log.info("engine %s, measured now: %s", trial.engine, _because(trial))
    if trial.step_ms:
        _write(file, key, trial)
    return engine, trial


def measure(bundle: Bundle, candidates: dict[str, Open]) -> tuple[StreamEngine, Trial]:
    """Open every candidate, compare answers and times, close all but the fastest. Nothing is read or kept."""
    engines: dict[str, StreamEngine] = {}
    passed_over: dict[str, str] = {}
    first_error: AUNetError | None = None
    fast_ms: dict[str, float] = {}
    for name, open_it in candidates.items():
        if fast_ms:
            passed_over[name] = "not tried: " + ", ".join(f"{n} needs {ms:.2f} ms a step" for n, ms in fast_ms.items())
            continue
        try:
            engines[name] = open_it()
        except AUNetError as error:
            first_error = first_error or error
            passed_over[name] = str(error)
        else:
            shortest_ms = _shortest_ms(engines[name])
            if len(engines) == 1 and shortest_ms < ENOUGH_MS:
                fast_ms[name] = round(shortest_ms, 4)
    if not engines:
        raise first_error or BackendUnavailable("expected an engine to choose from, got none")
    if len(engines) == 1:
        name, engine = next(iter(engines.items()))
        return engine, Trial(name, fast_ms, passed_over)
    try:
        standard = next(iter(engines))
        expected = _answers(engines[standard], bundle)
        for name in list(engines)[1:]:
            apart = float(np.abs(_answers(engines[name], bundle) - expected).max())
            if not apart < GATES[bundle.precision]:
                passed_over[name] = (
                    f"probabilities differ from {standard}'s by {apart:.1e}, the gate is {GATES[bundle.precision]:g}"
                )
                engines.pop(name).close()
        times = _times_ms(engines)
        best = min(engines, key=lambda name: times[name] * (1.0 if name == standard else 1 / ADVANTAGE))
        for name in [other for other in engines if other != best]:
            passed_over[name] = f"{times[name]:.2f} ms a step beside {times[best]:.2f} ms" + (
                ", less than 5 % faster" if times[name] < times[best] else ""
            )
            engines.pop(name).close()
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise
    return engines[best], Trial(best, {name: round(value, 4) for name, value in times.items()}, passed_over)


def _patterns(resolution: int, count: int = 4) -> np.ndarray:
    """(count, 3, R, R) float32 in [0, 1]: a smooth blob with darker spots that moves, the same everywhere."""
    y, x = np.mgrid[0:resolution, 0:resolution].astype(np.float32) / resolution
    crops = np.empty((count, 3, resolution, resolution), np.float32)
    for i in range(count):
        value = 0.9 - 1.6 * ((x - 0.5 - 0.02 * i) ** 2 + 0.7 * (y - 0.55) ** 2)
        for u, v, size in ((0.36, 0.41, 0.05), (0.64, 0.41, 0.05), (0.5, 0.55, 0.03), (0.5, 0.71 + 0.01 * i, 0.07)):
            value = value - 0.5 * np.exp(-((x - u) ** 2 + 4 * (y - v) ** 2) / size**2)
        crops[i] = np.clip(value, 0, 1) * np.array((1.0, 0.8, 0.7), np.float32)[:, None, None]
    return crops


def _answers(engine: StreamEngine, bundle: Bundle) -> np.ndarray:
    """Probabilities of a few decisions over kept frames."""
    slots: list[Slot] = []
    logits: list[np.ndarray] = []
    for crop in _patterns(bundle.resolution):
        engine.crops[0] = crop
        asked = [Query(slots[-2], slots[-1], NEW)] if len(slots) > 1 else []
        result = engine.step(1, asked, [slots[-1] if slots else None])
        slots.append(result.slots[0])
        logits += [*result.logits, *(() if result.logits_causal is None else result.logits_causal)]
    return 1 / (1 + np.exp(-np.array(logits, np.float64)))


def _shortest_ms(engine: StreamEngine, count: int = 4) -> float:
    """The quickest of a few steps with one face, which other work on the machine troubles least."""
    times = []
    for _ in range(count):
        start_s = time.perf_counter()
        engine.step(1, [Query(NEW, NEW, NEW)])
        times.append(1e3 * (time.perf_counter() - start_s))
    return min(times)


def _times_ms(engines: dict[str, StreamEngine]) -> dict[str, float]:
    """Median step with one face and one decision; the engines take turns, so that other work troubles all alike."""
    turns: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(_TURNS + 1):
        for name, engine in engines.items():
            done, start_s = 0, time.perf_counter()
            while done == 0 or time.perf_counter() - start_s < _TURN_S:
                engine.step(1, [Query(NEW, NEW, NEW)])
                done += 1
            if turn:
                turns[name].append(1e3 * (time.perf_counter() - start_s) / done)
    return {name: statistics.median(values) for name, values in turns.items()}


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


def _key(bundle: Bundle, names: tuple[str, ...], threads: int | None) -> str:
    versions = []
    for package in ("aunet_sdk", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    digest = bundle.sha256 or (sha256_of(bundle.path) if bundle.path is not None else bundle.name)
    what = json.dumps([digest, cpu_name(), threads, names, versions])
    return hashlib.sha256(what.encode()).hexdigest()


def _because(trial: Trial) -> str:
    times = ", ".join(f"{name} {ms:.2f} ms a step" for name, ms in trial.step_ms.items())
    over = "; ".join(f"{name} passed over: {why}" for name, why in trial.passed_over.items())
    return "; ".join(part for part in (times, over) if part) or "there is no other"


def _read(file: Path) -> dict[str, Trial]:
    """Choices of the file; none where it is missing, damaged or of another shape."""
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
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the choice of engines in %s cannot be read and is measured again: %r", file, error)
        return {}


def _write(file: Path, key: str, trial: Trial) -> None:
    """Add a choice; the file appears only when it is whole. What cannot be written is measured again next time."""
    kept = dict(list(_read(file).items())[-63:])
    kept[key] = trial
    data = {k: {"engine": t.engine, "step_ms": t.step_ms, "passed_over": t.passed_over} for k, t in kept.items()}
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        log.warning("the choice of the engine is not kept, %s cannot be written: %s", file, error)


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
