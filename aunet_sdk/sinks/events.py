"""Events as a file of their own: a CSV table with one row per event, or JSON Lines. docs/csv.md has the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from .base import Sink, WholeBlocks
from .jsonl import JsonlSink
from .message import EventLike

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["EVENT_COLUMNS", "EventTable", "check_events", "open_events"]

EVENT_COLUMNS = ("face_id", "au", "onset_s", "apex_s", "offset_s", "duration_s", "peak", "cut")
SUFFIXES = (".csv", ".jsonl")


def check_events(path: str | Path) -> None:
    """Raises InvalidInput for a path that is no `.csv` or `.jsonl`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"events: expected a path that ends in {' or '.join(SUFFIXES)}, got {Path(path).name!r}")


def open_events(path: str | Path) -> EventTable | EventLines:
    """The sink for events that the path's suffix names. Raises InvalidInput."""
    check_events(path)
    return EventTable(path) if Path(path).suffix.lower() == ".csv" else EventLines(path)


class EventLines(JsonlSink):
    """Writes every moment of every event as a message "aunet/1" (docs/messages.md), and no frames."""

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        pass


class EventTable(Sink):
    """Writes one row per event to a CSV file, when it ends. `put` takes no notice of results.

    An existing file is replaced; the header is there from the start. Seconds have six decimals, `peak` five. An event
    that still runs has no row: give the sink what `EventTracker.flush` returns, too.

    Raises InvalidInput where the path is no `.csv` or cannot be opened, OutputLost where the file takes no more: the
    rows before are kept whole.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lines = 0
        self._apexes_s: dict[tuple[int, str], float] = {}
        if self.path.suffix.lower() != ".csv":
            raise InvalidInput(f"events: expected a path that ends in .csv, got {self.path.name!r}")
        self._file = WholeBlocks(self.path, "events")
        try:
            self._append(EVENT_COLUMNS)
        except BaseException:
            self._file.close()
            raise

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        pass

    def event(self, event: EventLike) -> None:
        """Takes the next event: the row is written with its offset."""
        key, phase = (event.face, event.au), str(event.phase)
        if phase == "apex":
            self._apexes_s[key] = event.timestamp_s
        elif phase == "offset":
            onset_s = event.timestamp_s - event.duration_s
            times_s = [onset_s, self._apexes_s.pop(key, onset_s), event.timestamp_s, event.duration_s]
            cut = int(bool(getattr(event, "cut", False)))
            self._append([str(event.face), event.au, *(f"{s:.6f}" for s in times_s), f"{event.peak:.5f}", str(cut)])
            self.lines += 1

    def _append(self, row: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self._file.append(text.getvalue().encode())

    def close(self) -> None:
        """Closes the file. It may be called twice."""
        self._file.close()
