"""What a viewer who comes later gets: the last minute in short, and the session as a table. Numbers, no picture."""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import AUNetError
from ...sinks import CsvSink

if TYPE_CHECKING:
    from ...results import FrameResult

__all__ = ["LastMinute", "SessionTable"]

MINUTE_S = 60.0
STEP_S = 0.1
"""the strip charts of a viewer who comes later begin with one point in so many seconds"""


class LastMinute:
    """Probabilities and events of the last minute of one source, bounded in time and in number."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, dict[int, list[float]]]] = deque(maxlen=int(MINUTE_S / STEP_S))
        self._events: deque[dict[str, Any]] = deque(maxlen=100)
        self._lock = threading.Lock()

    def add(self, result: FrameResult) -> None:
        """One final result."""
        at_s = result.timestamp_s
        with self._lock:
            if self._points:
                if at_s < self._points[-1][0]:  # the source began anew
                    self._points.clear()
                    self._events.clear()
                elif at_s - self._points[-1][0] < STEP_S - 1e-3:
                    return
            while self._points and self._points[0][0] < at_s - MINUTE_S:
                self._points.popleft()
            self._points.append((at_s, {face.id: face.probabilities.tolist() for face in result.faces}))

    def event(self, message: dict[str, Any]) -> None:
        """A message "event"."""
        with self._lock:
            self._events.append(message)

    def message(self) -> dict[str, Any]:
        """For a viewer: by face the times and, in the order of the AUs, the probabilities; and the events."""
        faces: dict[int, dict[str, list[Any]]] = {}
        with self._lock:
            for at_s, probabilities in self._points:
                for face, values in probabilities.items():
                    of_face = faces.setdefault(face, {"t": [], "p": []})
                    of_face["t"].append(round(at_s, 3))
                    of_face["p"].append([round(value, 3) if value == value else None for value in values])
            return {
                "type": "history",
                "faces": {str(face): each for face, each in faces.items()},
                "events": [*self._events],
            }


class SessionTable:
    """The CSV table of docs/csv.md in memory, compressed; the oldest rows go where it grows beyond `most_bytes`."""

    def __init__(
        self, au_names: Sequence[str], most_bytes: int, with_file: bool = False, *, block_bytes: int = 256 * 1024
    ) -> None:
        self._blocks: deque[tuple[bytes, int]] = deque()  # compressed, and how many rows
        self._open = bytearray()
        self._open_rows = self._bytes = 0
        self._header: bytes | None = None
        self._most_bytes, self._block_bytes = most_bytes, block_bytes
        self._lock = threading.Lock()
        self.rows = 0
        """in the table"""
        self.rows_gone = 0
        """that had to go"""
        self._table = CsvSink(self, au_names, with_file=with_file)
        self._with_file = with_file

    def put(self, result: FrameResult, source: str) -> None:
        """One result. Raises InvalidInput where it has other AUs."""
        self._table.put(result, file=source if self._with_file else None)

    def append(self, block: bytes) -> None:
        """What the table writes: its header first, then rows."""
        with self._lock:
            if self._header is None:
                self._header = block
                return
            count = block.count(b"\n")
            self._open += block
            self._open_rows += count
            self.rows += count
            if len(self._open) >= self._block_bytes:
                packed = zlib.compress(bytes(self._open), 1)
                self._blocks.append((packed, self._open_rows))
                self._bytes += len(packed)
                self._open.clear()
                self._open_rows = 0
                while self._bytes > self._most_bytes:
                    oldest, rows = self._blocks.popleft()
                    self._bytes -= len(oldest)
                    self.rows -= rows
                    self.rows_gone += rows

    def check_open(self) -> None:
        """A table in memory is always open."""

    def close(self) -> None:
        """Nothing is held."""

    def read(self) -> Iterator[bytes]:
        """The table as it is now, block by block."""
        with self._lock:
            if self._header is None:
                raise AUNetError("session: expected a table, got none")
            header, blocks, rest = self._header, [packed for packed, _ in self._blocks], bytes(self._open)
        yield header
        for packed in blocks:
            yield zlib.decompress(packed)
        if rest:
            yield rest
