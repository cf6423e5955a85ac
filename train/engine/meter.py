"""What a run reports while it trains: means of scalars, images per second, tensorboard, the progress bar."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from train.engine.run_folder import RunError, unwritten

LOG = logging.getLogger("train")
AddScalar = Callable[[str, float, int], None]
"""Name, value, samples seen."""


class Meter:
    """Means of scalars, images per second, and the share of the time that went into waiting for data."""

    def __init__(self) -> None:
        self.reported = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.restart()

    def restart(self) -> None:
        self.sums, self.count = {}, 0
        self.images, self.waited, self.started = 0, 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.waited += time.monotonic() - start

    def add(self, images: int, scalars: dict[str, Tensor]) -> None:
        self.images += images
        self.count += 1
        for name, value in scalars.items():  # on their device: nobody waits for it before `read`
            found = value.detach().float()
            self.sums[name] = self.sums[name] + found if name in self.sums else found

    def read(self) -> dict[str, float]:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        means = {name: float(value) / max(self.count, 1) for name, value in self.sums.items()}
        means |= {"images_per_s": self.images / elapsed, "data_wait": self.waited / elapsed}
        self.restart()
        return means

    def report(self, done: int, steps: int, means: dict[str, float], terminal: bool) -> None:
        """A line in the log every 20 s where no progress bar can be seen."""
        if terminal or (time.monotonic() - self.reported < 20 and done < steps):
            return
        self.reported = time.monotonic()
        LOG.info("step %d/%d  %s", done, steps, "  ".join(f"{k} {v:.4g}" for k, v in means.items()))


def events_name() -> str:
    """Name of a new file of events; names ascend with time."""
    return f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}"


class ScalarFile:
    """Scalars of a run, for tensorboard.

    Each is written at once by whoever adds it: torch's SummaryWriter has a thread for it, whose errors nobody can
    catch.

    Raises:
        RunError: here and in `add`: the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        self.path = folder / events_name()
        with self._named():
            self._records = RecordWriter(self.path.open("wb"))
        try:
            self._write(file_version="brain.Event:2")
        except RunError:
            self.close()
            raise

    def add(self, name: str, value: float, at: int) -> None:
        """A value of scalar `name` after `at` samples."""
        point = self._summary.Value(tag=name, simple_value=float(value))
        self._write(step=at, summary=self._summary(value=[point]))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # every scalar is written; what is left is one whose error went out
            self._records.close()

    def _write(self, **fields: Any) -> None:
        with self._named():
            self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
            self._records.flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(unwritten(self.path, error)) from error


def progress_bar(shown: bool = True) -> Any:
    """A rich progress bar with the fields rate and loss, time gone and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
