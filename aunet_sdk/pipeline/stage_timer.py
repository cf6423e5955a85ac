"""Stage times of one frame."""

from __future__ import annotations

import time
from types import TracebackType

STAGES = ("decode", "find", "align", "network", "points", "total")
"""of `FrameResult.latency_ms`; `network` is the engine's whole step, copies to and from its device included"""

DETAILS = ("decode", "find", "align", "copy_in", "network", "copy_out", "points", "buffer")
"""of a profile; here `network` is without the copies"""


class _Block:
    """The time inside a `with` block: a class, since contextlib's generators take three times as long."""

    __slots__ = ("_ms", "_name", "_start_s")

    def __init__(self, ms: dict[str, float], name: str) -> None:
        self._ms, self._name = ms, name

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ms[self._name] = self._ms.get(self._name, 0.0) + 1e3 * (time.perf_counter() - self._start_s)


class StageTimer:
    """Adds up the computing time of named stages of one frame, by time.perf_counter.

    `total` is the time from the making of the timer to `stop`, plus what `add` brought in from outside.
    """

    def __init__(self) -> None:
        self._start_s = time.perf_counter()
        self._outside_ms = 0.0
        self._copy_ms = [0.0, 0.0]
        self._ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def stage(self, name: str) -> _Block:
        """Adds the time inside the `with` block to a stage."""
        return _Block(self._ms, name)

    def add(self, name: str, ms: float) -> None:
        """Adds the time, in milliseconds, of something that was done before the timer began."""
        self._ms[name] = self._ms.get(name, 0.0) + ms
        self._outside_ms += ms

    def add_copies(self, in_ms: float, out_ms: float) -> None:
        """Says how much of the stage `network` went into copies to the engine's device and back."""
        self._copy_ms[0] += in_ms
        self._copy_ms[1] += out_ms

    def stop(self) -> dict[str, float]:
        """STAGES in milliseconds, with `total`."""
        self._ms["total"] = 1e3 * (time.perf_counter() - self._start_s) + self._outside_ms
        return {name: self._ms[name] for name in STAGES}

    def details(self) -> dict[str, float]:
        """DETAILS in milliseconds."""
        copy_in, copy_out = self._copy_ms
        ms = {name: self._ms.get(name, 0.0) for name in DETAILS}
        return ms | {"copy_in": copy_in, "network": ms["network"] - copy_in - copy_out, "copy_out": copy_out}
