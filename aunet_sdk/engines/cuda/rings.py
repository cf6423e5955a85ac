"""State rings in the GPU's memory: through a CudaApi, or as a tensor of ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Collection

from ...bundle import StateSpec
from ...errors import BackendUnavailable
from ..ring import Ring
from .api import CudaApi, OutOfDeviceMemory, tells_of_memory

__all__ = ["DeviceRing", "OrtValueRing", "ort_failure"]

log = logging.getLogger(__name__)


def ort_failure(what: str, error: Exception) -> BackendUnavailable:
    """ONNX Runtime's error by name: OutOfDeviceMemory where it is about memory, else BackendUnavailable."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or tells_of_memory(text):
        return OutOfDeviceMemory(
            f"expected free device memory for {what}, got {text}; lower max_faces, use a bundle with FP16 states, or "
            "end other users of the GPU"
        )
    return BackendUnavailable(f"expected {what}, got {text}; open the engine anew")


class _BoundedRing(Ring):
    """Ring that stays as it is where the device has no memory to grow."""

    def take(self, count: int, reading: Collection[int] = ()) -> int:
        """See Ring. No memory to grow: the oldest rows are given up from then on, which is logged."""
        try:
            return super().take(count, reading)
        except OutOfDeviceMemory as error:
            self._max_rows = self.rows
            log.warning("state ring %s cannot grow beyond %d rows: %s", self.spec.name, self.rows, error)
        return super().take(count, reading)


class OrtValueRing(_BoundedRing):
    """Ring in a tensor of ONNX Runtime on "cuda" (or "cpu"). Raises BackendUnavailable, OutOfDeviceMemory."""

    def _resize(self, rows: int) -> None:
        try:
            super()._resize(rows)
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise ort_failure(f"{rows * self.row_bytes / 2**20:.1f} MiB of state {self.spec.name}", error) from error


class DeviceRing(_BoundedRing):
    """Ring whose rows lie on the device; `tensor` stays None. Belongs to the thread that attached `cuda`."""

    def __init__(self, spec: StateSpec, rows: int, max_rows: int, cuda: CudaApi, stream: int) -> None:
        self._cuda, self._stream = cuda, stream
        super().__init__(spec, min(rows, max_rows), max_rows, "cuda")

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
