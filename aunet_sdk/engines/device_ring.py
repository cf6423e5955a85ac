"""A state ring in the GPU's memory, through a CudaApi."""

from __future__ import annotations

import logging
from collections.abc import Collection

from ..bundle import StateSpec
from .cuda import CudaApi, OutOfDeviceMemory
from .ring import Ring

__all__ = ["DeviceRing"]

log = logging.getLogger(__name__)


class DeviceRing(Ring):
    """Ring whose rows lie on the device; `tensor` stays None. Belongs to the thread that attached `cuda`."""

    def __init__(self, spec: StateSpec, rows: int, max_rows: int, cuda: CudaApi, stream: int) -> None:
        self._cuda, self._stream = cuda, stream
        super().__init__(spec, min(rows, max_rows), max_rows, "cuda")

    def take(self, count: int, reading: Collection[int] = ()) -> int:
        """See Ring. Where the device has no memory to grow, the ring stays as it is, which is logged."""
        try:
            return super().take(count, reading)
        except OutOfDeviceMemory as error:
            self._max_rows = self.rows
            log.warning("state ring %s cannot grow beyond %d rows: %s", self.spec.name, self.rows, error)
        return super().take(count, reading)

    def free(self) -> None:
        """Give the memory back."""
        if self.pointer:
            self._cuda.free(self.pointer)
            self.pointer = 0

    def _resize(self, rows: int) -> None:
        fresh = self._cuda.malloc(rows * self.row_bytes)
        if self.pointer:
            self._cuda.copy_on_device(fresh, self.pointer, self.rows * self.row_bytes, self._stream)
            self._cuda.stream_wait(self._stream)
            self._cuda.free(self.pointer)
        self._owners += [None] * (rows - self.rows)
        self.pointer = fresh
