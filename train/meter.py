"""What a run says about itself while it goes on: means of scalars, images per second, the progress bar."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

LOG = logging.getLogger("train")


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
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, torch.zeros(())) + value.detach().float().cpu()

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
