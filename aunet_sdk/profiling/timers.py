"""Percentiles of stage times over many frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Statistics of one stage, in milliseconds."""

    count: int
    min_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class LatencyLog:
    """Latencies of the last `capacity` frames by stage; bounded memory."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._values: dict[str, deque[float]] = {}

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Take in one frame, for instance `FrameResult.latency_ms`."""
        for name, value in latency_ms.items():
            self._values.setdefault(name, deque(maxlen=self._capacity)).append(float(value))

    def summary(self) -> dict[str, Summary]:
        """Statistics by stage, in the order in which the stages first came."""
        return {name: summarise(values) for name, values in self._values.items()}


def summarise(values_ms: Iterator[float] | deque[float] | list[float] | np.ndarray) -> Summary:
    """Statistics of at least one time in milliseconds; percentiles by linear interpolation. Raises ValueError if
    empty."""
    values = np.asarray(list(values_ms), np.float64)
    if not values.size:
        raise ValueError("expected at least one time, got none")
    median, p90, p95, p99 = np.percentile(values, [50, 90, 95, 99])
    return Summary(
        count=int(values.size),
        min_ms=float(values.min()),
        mean_ms=float(values.mean()),
        median_ms=float(median),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        max_ms=float(values.max()),
    )
