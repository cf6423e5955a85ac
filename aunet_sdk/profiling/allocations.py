"""What a call allocates: for the tests and the benchmark that hold a frame to no arrays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

SMALLEST_ARRAY = 128 * 128
"""bytes: one channel of a crop in uint8; float heatmaps and states are larger"""


def allocations(call: Callable[[], object], rounds: int) -> tuple[int, int]:
    """Bytes at the top of a call above those before it (the largest of all rounds), and the growth over all rounds."""
    tracemalloc.start()
    try:
        call()
        begun, _ = tracemalloc.get_traced_memory()
        top = 0
        for _ in range(rounds):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            call()
            top = max(top, tracemalloc.get_traced_memory()[1] - before)
        return top, tracemalloc.get_traced_memory()[0] - begun
    finally:
        tracemalloc.stop()
