"""How long the copies to the device and back take, by events in the stream between them."""

from __future__ import annotations

from ...errors import BackendUnavailable
from .api import CudaApi

__all__ = ["CopyClock"]


class CopyClock:
    """Four events: before and after the copies in, before and after the copies out.

    What is recorded while a graph is captured becomes part of it and is taken at every launch. Belongs to the thread
    that attached `cuda`; its calls raise CudaFailure.
    """

    def __init__(self, cuda: CudaApi, stream: int) -> None:
        self._cuda, self._stream = cuda, stream
        self._events: list[int] = []
        try:
            for _ in range(4):
                self._events.append(cuda.event_create())
        except BackendUnavailable:
            self.free()
            raise

    def mark(self, which: int) -> None:
        """0: copies in begin, 1: they end, 2: copies out begin, 3: they end."""
        self._cuda.event_record(self._events[which], self._stream)

    def read_ms(self) -> tuple[float, float]:
        """(in, out) of the last run, in milliseconds of the device's own clock."""
        start, end, back, done = self._events
        return self._cuda.event_elapsed_ms(start, end), self._cuda.event_elapsed_ms(back, done)

    def free(self) -> None:
        """Give the events back."""
        while self._events:
            self._cuda.event_destroy(self._events.pop())
