"""The short trial behind engine="auto": the same crops for every engine, their answers and their times.

A machine has other work, which makes an engine look slower and never faster. So the engines take turns, each in front
every other time; a turn counts with its shortest step; and another engine beats the standard only where it does so in
nearly all turns. Where the standard's own turns lie far apart and no engine wins clearly, nothing is decided.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...bundle import Bundle
from ..base import NEW, Query, Slot, StreamEngine

__all__ = ["ADVANTAGE", "TURNS", "Trial", "TurnFailed", "Verdict", "answers", "judge", "shortest_ms", "take_turns"]

ADVANTAGE = 0.95
"""an engine has to need less than this share of the standard's time"""
TURNS = 8
"""of each engine"""
_WINS = 7
"""turns in which it has to beat the standard by that much"""
_TURN_S = 0.02
_CALM = 1.25
"""on a calm machine the longest turn of an engine is at most this many times its shortest"""


@dataclass(frozen=True)
class Trial:
    """engine: the one chosen; step_ms: per engine that ran, time of a step with one face and one decision
    passed_over: engine -> why, for those not chosen; clear: False where other work on the machine hid the difference
    """

    engine: str
    step_ms: dict[str, float]
    passed_over: dict[str, str]
    clear: bool = True


@dataclass(frozen=True)
class Verdict:
    """step_ms: lower quartile of each engine's turns; best: the engine to take; clear: see Trial"""

    best: str
    step_ms: dict[str, float]
    clear: bool


class TurnFailed(Exception):
    """A step of the engine `name` raised `error`."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.name, self.error = name, error


def judge(turns: Mapping[str, Sequence[float]]) -> Verdict:
    """From the milliseconds of each engine's turns, the standard first; turn i of all engines lay side by side."""
    quartiles = {name: float(np.quantile(times, 0.25)) for name, times in turns.items()}
    standard, *others = turns
    winners, open_questions = [standard], False
    for name in others:
        ratios = np.divide(turns[name], turns[standard])
        wins = int(np.count_nonzero(ratios < ADVANTAGE))
        faster = quartiles[name] < ADVANTAGE * quartiles[standard]
        if faster and wins >= _WINS * len(ratios) / TURNS:
            winners.append(name)
        elif faster or wins > len(ratios) / 2:
            open_questions = True
    best = min(winners, key=quartiles.__getitem__)
    calm = all(max(times) <= _CALM * min(times) for times in turns.values())
    return Verdict(
        best, {name: round(ms, 4) for name, ms in quartiles.items()}, best != standard or calm or not open_questions
    )


def take_turns(engines: Mapping[str, StreamEngine]) -> dict[str, list[float]]:
    """Milliseconds of a step with one face and one decision, for each engine and turn: the shortest of the turn. A turn
    before the first one, for caches and clocks, does not count. Raises TurnFailed."""
    turns: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(TURNS + 1):
        order = list(engines.items())
        for name, engine in order if turn % 2 else reversed(order):
            begun_s, shortest_s = time.perf_counter(), float("inf")
            now_s = begun_s
            while now_s - begun_s < _TURN_S or shortest_s == float("inf"):
                try:
                    engine.step(1, [Query(NEW, NEW, NEW)])
                except Exception as error:
                    raise TurnFailed(name, error) from error
                done_s = time.perf_counter()
                shortest_s, now_s = min(shortest_s, done_s - now_s), done_s
            if turn:
                turns[name].append(1e3 * shortest_s)
    return turns


def shortest_ms(engine: StreamEngine, count: int = 8) -> float:
    """The quickest of a few steps with one face, which other work on the machine troubles least."""
    times = []
    for _ in range(count):
        start_s = time.perf_counter()
        engine.step(1, [Query(NEW, NEW, NEW)])
        times.append(1e3 * (time.perf_counter() - start_s))
    return min(times)


def answers(engine: StreamEngine, bundle: Bundle) -> np.ndarray:
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
