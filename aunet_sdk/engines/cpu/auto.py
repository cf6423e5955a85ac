"""engine="auto": the fastest CPU engine of those installed, found by a short measured trial and remembered.

ONNX Runtime is the standard: another engine, or the INT8 form that lies beside the bundle, is taken where its answers
agree with ONNX Runtime's within the gates of docs/export.md and it is clearly faster (trial.py). Every engine has to
answer as its own bundle says (engines/parity.py). Where ONNX Runtime needs less than 5 ms for a face the others are not
even opened, since that takes longer than it could give back. Whatever another engine raises, it is closed, passed over
and logged. The choice is kept in the user's cache folder (choice_file.py), and is measured again when what it depends
on changes, or where other work on the machine hid the difference.
GPU engines are never chosen by themselves: they hold the device and may build for minutes. Ask for them by name.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..._util.paths import cache_folder
from ...bundle import Bundle
from ...errors import AUNetError, BackendUnavailable
from ..base import StreamEngine
from ..parity import check_parity
from . import choice_file
from .trial import ADVANTAGE, Trial, TurnFailed, answers, judge, shortest_ms, take_turns

__all__ = ["GATES", "Trial", "choose", "installed", "measure"]

log = logging.getLogger(__name__)

GATES = {"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-2}
"""Largest probability difference between two engines on the trial's crops, by the bundle's precision."""
ENOUGH_MS = 5.0

Open = Callable[[], StreamEngine]
T = TypeVar("T")


def choose(
    bundle: Bundle,
    candidates: dict[str, Open],
    *,
    threads: int | None = None,
    folder: str | Path | None = None,
    int8: Bundle | None = None,
) -> tuple[StreamEngine, Trial]:
    """The engine to use, open, and why.

    Args:
        bundle: a `stream` bundle with a path.
        candidates: engine name -> how to open it; the first is the standard that others are compared with.
        threads: part of the key alone.
        folder: where choices are kept; None: the user's cache folder.
        int8: the INT8 form that some of the candidates run; part of the key alone.

    Raises what the standard raises where no candidate can be opened.
    """
    if len(candidates) == 1:
        name = next(iter(candidates))
        return _checked(candidates[name]()), Trial(name, {}, {})
    file = (Path(folder) if folder is not None else cache_folder()) / choice_file.FILE_NAME
    key = choice_file.key_of(bundle, tuple(candidates), threads, int8)
    known = choice_file.read(file).get(key)
    if known is not None and known.engine in candidates:
        try:
            engine = _checked(candidates[known.engine]())
        except Exception as error:
            log.warning("engine %s was the fastest before and cannot be opened now: %s", known.engine, _words(error))
        else:
            log.info("engine %s, as measured before: %s", known.engine, _because(known))
            return engine, known
    engine, trial = measure(bundle, candidates)
    log.info("engine %s, measured now: %s", trial.engine, _because(trial))
    if trial.step_ms and trial.clear:
        choice_file.write(file, key, trial)
    return engine, trial


def measure(bundle: Bundle, candidates: dict[str, Open]) -> tuple[StreamEngine, Trial]:
    """Open every candidate, compare answers and times, close all but the fastest. Nothing is read or kept."""
    run = _Run()
    try:
        return run.of(bundle, candidates)
    except BaseException as error:
        for name in list(run.engines):
            run.close(name)
        if isinstance(error, AUNetError) or not isinstance(error, Exception):
            raise
        raise BackendUnavailable(
            f"expected engine {next(iter(candidates))} to run a short trial, got {_words(error)}; reinstall its "
            "library, or name another engine"
        ) from error


class _Run:
    """One trial. engines: those that are open, the standard first; passed_over: why the others are not."""

    def __init__(self) -> None:
        self.engines: dict[str, StreamEngine] = {}
        self.passed_over: dict[str, str] = {}
        self._first_error: Exception | None = None

    def of(self, bundle: Bundle, candidates: dict[str, Open]) -> tuple[StreamEngine, Trial]:
        fast_ms: dict[str, float] = {}
        for name, open_it in candidates.items():
            if fast_ms:
                told = ", ".join(f"{n} needs {ms:.2f} ms a step" for n, ms in fast_ms.items())
                self.passed_over[name] = f"not tried: {told}"
                continue
            engine = self._attempt(name, lambda open_it=open_it: _checked(open_it()))  # type: ignore[misc]
            if engine is None:
                continue
            self.engines[name] = engine
            if len(self.engines) == 1 and (ms := shortest_ms(engine)) < ENOUGH_MS:
                fast_ms[name] = round(ms, 4)
        if not self.engines:
            raise self._first_error or BackendUnavailable("expected an engine to choose from, got none")
        standard = next(iter(self.engines))
        self._compare(bundle, standard)
        if len(self.engines) == 1:
            return self.engines[standard], Trial(standard, fast_ms, self.passed_over)
        turns = self._turns(standard)
        verdict = judge(turns)
        for name in [other for other in self.engines if other != verdict.best]:
            ms, best_ms = verdict.step_ms[name], verdict.step_ms[verdict.best]
            why = f"{ms:.2f} ms a step beside {best_ms:.2f} ms"
            if ms < best_ms:
                why += f", not clearly less than {100 * ADVANTAGE:.0f} % of it in nearly all turns"
            self.close(name)
            self.passed_over[name] = why
        if not verdict.clear:
            log.warning("other work on the machine hides which engine is the fastest: it is measured again next time")
        return self.engines[verdict.best], Trial(verdict.best, verdict.step_ms, self.passed_over, verdict.clear)

    def close(self, name: str) -> None:
        """An engine that cannot even be closed is no reason to go without another."""
        try:
            self.engines.pop(name).close()
        except Exception as error:
            log.warning("engine %s cannot be closed: %s", name, _words(error))

    def _compare(self, bundle: Bundle, standard: str) -> None:
        """Pass over whoever answers otherwise than the standard, or not at all."""
        if len(self.engines) == 1:
            return
        expected = answers(self.engines[standard], bundle)
        for name in list(self.engines)[1:]:
            got = self._attempt(name, lambda name=name: answers(self.engines[name], bundle))  # type: ignore[misc]
            if got is None:
                continue
            apart, gate = float(np.abs(got - expected).max()), GATES[bundle.precision]
            if self.engines[name].bundle.arithmetic != bundle.arithmetic:
                gate = GATES[self.engines[name].bundle.precision]
            if not apart < gate:
                self.passed_over[name] = f"probabilities differ from {standard}'s by {apart:.1e}, the gate is {gate:g}"
                self.close(name)

    def _turns(self, standard: str) -> dict[str, list[float]]:
        """Of those that are left; who fails meanwhile is passed over, and the others begin again."""
        while True:
            try:
                return take_turns(self.engines)
            except TurnFailed as failed:
                if failed.name == standard:
                    raise failed.error from None
                self._pass_over(failed.name, failed.error)

    def _attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """None where it failed: an error that we foresee passes any candidate over, all others all but the standard."""
        try:
            return make()
        except Exception as error:
            self._first_error = self._first_error or error
            if not isinstance(error, AUNetError) and not (self.engines or self.passed_over):
                raise
            self._pass_over(name, error)
            return None

    def _pass_over(self, name: str, error: Exception) -> None:
        if not isinstance(error, AUNetError):
            log.warning("engine %s is passed over: %s", name, _words(error))
        self.passed_over[name] = _words(error)
        if name in self.engines:
            self.close(name)


def _checked(engine: StreamEngine) -> StreamEngine:
    """The engine, open, if it answers as its bundle says; else it is closed. Raises EngineMismatch."""
    try:
        check_parity(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, AUNetError) else f"{type(error).__name__}: {error}"


def _because(trial: Trial) -> str:
    times = ", ".join(f"{name} {ms:.2f} ms a step" for name, ms in trial.step_ms.items())
    over = "; ".join(f"{name} passed over: {why}" for name, why in trial.passed_over.items())
    return "; ".join(part for part in (times, over) if part) or "there is no other"


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
