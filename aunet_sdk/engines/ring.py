"""Rows of one state tensor on the engine's device: which are free, and where the next frame's go.

A step writes its faces into consecutive rows, which the engine binds as the graph's output; later steps gather them by
index. A row is taken again when nobody needs it any more; when none is free the ring grows a little, its content kept.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..bundle import StateSpec
from ..errors import BackendUnavailable, EngineMismatch
from .base import Slot

__all__ = ["MOST_FPS", "Ring", "initial_rows", "most_rows", "state_bytes"]

log = logging.getLogger(__name__)

MOST_FPS = 240
"""Rings grow up to what max_faces need at this rate; a session gives less context where frames come faster."""
_SPARE_FPS = 20
"""Timestamps that jitter, a face that is looked at twice, and gaps between rows take some more."""
_GROWTH = 1 / 8
"""Share that a ring grows by: at width 256 a row has 2 MiB, so that doubling would keep much more than is needed."""


def initial_rows(spec: StateSpec, interval_s: float, fps: float) -> int:
    """Frames to keep for one face: of the interval, or of twice the interval where a former frame reads the state, and
    the new one. Timestamps that jitter, or a face that is looked at twice, take a row or two more."""
    span_s = interval_s * (2 if "former" in spec.roles else 1)
    return math.ceil(span_s * fps - 1e-9) + 1


def state_bytes(spec: StateSpec) -> int:
    """Of one row."""
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize


def most_rows(spec: StateSpec, interval_s: float, max_faces: int) -> int:
    """Rows that a ring grows up to: max_faces at MOST_FPS, with some to spare."""
    return max_faces * initial_rows(spec, interval_s, MOST_FPS + _SPARE_FPS)


class Ring:
    """`rows` rows of `spec.shape` on "cpu" or "cuda", never more than `max_rows`.

    tensor: numpy array (rows, *shape) on the CPU, else an OrtValue; pointer: its address. Both change when it grows
    """

    def __init__(self, spec: StateSpec, rows: int, max_rows: int, device: str = "cpu", device_id: int = 0) -> None:
        self.spec = spec
        self.dtype = np.dtype(spec.dtype)
        self.row_bytes = state_bytes(spec)
        self._max_rows = max(rows, max_rows)
        self._device, self._device_id = device, device_id
        self._keeps = "former" in spec.roles
        self._owners: list[weakref.ref[Slot] | None] = []
        self._next = 0
        self._warned = False
        self.tensor: Any = None
        self.pointer = 0
        self._resize(rows)

    @property
    def rows(self) -> int:
        return len(self._owners)

    def holds(self, slot: Slot, row: int) -> bool:
        """Whether `row` still has the state of `slot`."""
        owner = self._owners[row] if 0 <= row < len(self._owners) else None
        return owner is not None and owner() is slot

    def values(self, row: int, count: int) -> np.ndarray:
        """A view (count, *shape) of these rows. Raises BackendUnavailable where they are not in ordinary memory."""
        if not isinstance(self.tensor, np.ndarray):
            raise BackendUnavailable(
                f"expected states in ordinary memory (engine onnxruntime or openvino), got them on {self._device}"
            )
        return self.tensor[row : row + count]

    def take(self, count: int, reading: Collection[int] = ()) -> int:
        """First of `count` consecutive rows to write to, none of them needed or in `reading`. May grow."""
        start = self._find(count, reading, force=False)
        if start is None and self.rows < self._max_rows:
            start = self.rows
            more = max(count, math.ceil(self.rows * _GROWTH))
            self._resize(min(self.rows + more, max(self._max_rows, self.rows + count)))
            log.info(
                "state ring %s grew to %d rows (%.1f MiB)",
                self.spec.name,
                self.rows,
                self.rows * self.row_bytes / 2**20,
            )
        if start is None:
            if not self._warned:
                log.warning(
                    "state ring %s is full, %d rows are held: the oldest are given up; drop slots that are not needed",
                    self.spec.name, self.rows,
                )  # fmt: skip
                self._warned = True
            start = self._find(count, reading, force=True)
        if start is None:
            raise EngineMismatch(
                f"expected {count} rows without readers in a ring of {self.rows}, got fewer; split the queries"
            )
        self._next = start + count
        for row in range(start, start + count):
            self._owners[row] = None
        return start

    def claim(self, start: int, slots: Sequence[Slot]) -> None:
        """Rows from `start` on now hold the states of `slots`."""
        for row, slot in enumerate(slots, start):
            self._owners[row] = weakref.ref(slot)

    def _find(self, count: int, reading: Collection[int], force: bool) -> int | None:
        rows, run = self.rows, 0
        for offset in range(rows + count):
            row = (self._next + offset) % rows
            if row == 0:
                run = 0
            run = 0 if row in reading or (not force and self._needed(row)) else run + 1
            if run == count:
                return row - count + 1
        return None

    def _needed(self, row: int) -> bool:
        owner = self._owners[row]
        slot = None if owner is None else owner()
        return slot is not None and (self._keeps or not slot.settled)

    def _resize(self, rows: int) -> None:
        fresh = np.zeros((rows, *self.spec.shape), self.dtype)
        if self.tensor is not None:
            fresh[: self.rows] = self.tensor if self._device == "cpu" else self.tensor.numpy()
        if self._device == "cpu":
            self.tensor, self.pointer = fresh, fresh.ctypes.data
        else:
            import onnxruntime as ort

            self.tensor = ort.OrtValue.ortvalue_from_numpy(fresh, self._device, self._device_id)
            self.pointer = self.tensor.data_ptr()
        self._owners += [None] * (rows - self.rows)  # last: where there is no memory the ring stays as it was
