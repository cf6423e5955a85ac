"""Batches made ahead of the step that takes them: by threads of this process, or by processes of their own."""

from __future__ import annotations

import dataclasses
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from train.engine.run_folder import RunError


def batches(
    make: Callable[[int], Any], start: int, stop: int, ahead: int = 3, workers: int = 1
) -> Generator[Any, None, None]:
    """Batches of steps start..stop in order, made in `workers` other threads, at most `ahead` of them in advance."""
    ahead = max(ahead, workers + 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="data") as pool:
        queue: deque[Future[Any]] = deque(pool.submit(make, step) for step in range(start, min(stop, start + ahead)))
        try:
            for step in range(start, stop):
                batch = queue.popleft().result()
                if step + ahead < stop:
                    queue.append(pool.submit(make, step + ahead))
                yield batch
        finally:
            for future in queue:
                future.cancel()


def process_batches(
    make: Callable[[int], Any], start: int, stop: int, workers: int = 1, pin: bool = False
) -> Generator[Any, None, None]:
    """The same by `workers` processes, which Python's lock does not hold up; two batches of each in advance.

    They are forks of this one, so that nothing has to be picklable but the batches, and must not use CUDA. A Ctrl-C is
    this process's business alone. Batches travel through shared memory (/dev/shm).

    Args:
        pin: hand out tensors in pinned memory, for asynchronous copies to a GPU.

    Raises:
        RunError: a process ended by itself.
        Exception: what `make` raised in a process, as it was.
    """
    loader: DataLoader[Any] = DataLoader(
        _Steps(make),
        sampler=range(start, stop),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="fork",
        worker_init_fn=_ignore_interrupts,
    )
    with warnings.catch_warnings():  # a fork beside threads, which only matters to who needs their locks
        warnings.simplefilter("ignore", DeprecationWarning)
        source = iter(loader)
    for _ in range(start, stop):
        try:
            batch = next(source)
        except RuntimeError as error:
            raise RunError(
                f"loader: expected the processes that prepare data to live, one ended ({str(error).splitlines()[0]}); "
                "where memory or /dev/shm is full, take fewer workers, or --loader threads"
            ) from error
        if isinstance(batch, _Failure):
            raise batch.error
        yield batch


@dataclasses.dataclass(frozen=True)
class _Failure:
    """What a process hands back in place of a batch: DataLoader would put its traceback into the message."""

    error: Exception


class _Steps(Dataset[Any]):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Any:
        try:
            return self.make(step)
        except Exception as error:
            return _Failure(error)


def _ignore_interrupts(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pinned(parts: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """The tensors of a batch's parts in pinned memory."""
    return [{name: tensor.pin_memory() for name, tensor in part.items()} for part in parts]
