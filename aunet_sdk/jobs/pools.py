"""Who works: processes of this machine (Pebble), or actors of a Ray cluster. Both keep their engines, and both outlive
a worker that dies: the file it had is given to another."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from ..errors import BackendUnavailable, InvalidInput
from ..options import DetectorOptions
from .dataset import Status
from .items import Item
from .split import Part
from .worker import Worker

__all__ = ["LocalPool", "Pool", "RayPool", "WorkerDied"]


class WorkerDied(Exception):
    """A worker ended in the middle of a file: it was killed, ran out of memory, or its machine has gone."""


class Pool(ABC):
    """Takes files and parts of files."""

    @property
    @abstractmethod
    def free(self) -> int:
        """So many workers wait for a file."""

    @abstractmethod
    def submit(self, item: Item, part: Part | None, attempt: int) -> Future[Status]:
        """The file's status when it is done. The future raises WorkerDied, or what the worker raises."""

    @abstractmethod
    def close(self) -> None:
        """End the workers, at once."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()


_worker: Worker | None = None
"""that of this process"""


def _start(root: str, options: DetectorOptions, facts: Mapping[str, str]) -> None:
    import signal

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the process group; the one that runs the job decides
    _worker = Worker(root, options, facts)


def _work(item: Item, part: Part | None, attempt: int) -> Status:
    assert _worker is not None
    return _worker.run(item, attempt) if part is None else _worker.run_part(item, part)


class LocalPool(Pool):
    """Processes of this machine. Raises BackendUnavailable where Pebble is missing."""

    def __init__(self, size: int, root: str, options: DetectorOptions, facts: Mapping[str, str]) -> None:
        try:
            from pebble import ProcessExpired, ProcessPool
        except ImportError as error:
            raise BackendUnavailable(f'workers need pebble: {error}; pip install "aunet_sdk[jobs]"') from error
        import multiprocessing

        self._size, self._expired = size, ProcessExpired
        self._busy: set[Future[Status]] = set()
        self._pool = ProcessPool(
            size,
            initializer=_start,
            initargs=[root, options, dict(facts)],
            context=multiprocessing.get_context("spawn"),  # a fork would carry the threads' locks along
        )

    @property
    def free(self) -> int:
        self._busy = {future for future in self._busy if not future.done()}
        return self._size - len(self._busy)

    def submit(self, item: Item, part: Part | None, attempt: int) -> Future[Status]:
        future = _translated(self._pool.schedule(_work, args=[item, part, attempt]), (self._expired,))
        self._busy.add(future)
        return future

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()


class RayPool(Pool):
    """Actors of a Ray cluster, one per worker. The data set's folder has to be the same one on every machine.

    address: "auto", "ray://HOST:10001" or "local". Raises BackendUnavailable where Ray is missing, InvalidInput where
    no cluster answers.
    """

    def __init__(
        self, size: int | None, address: str, root: str, options: DetectorOptions, facts: Mapping[str, str]
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise BackendUnavailable(f'--ray needs Ray: {error}; pip install "aunet_sdk[ray]"') from error
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise InvalidInput(f"--ray: no cluster at {address}: {error}") from error
        size = size or max(1, int(ray.cluster_resources().get("CPU", 1)))
        make = ray.remote(num_cpus=options.threads or 1, max_restarts=0)(Worker).remote
        self._make: Callable[[], Any] = lambda: make(root, options, dict(facts))
        self._gone = (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError)
        self._lock = threading.Lock()
        self._actors: list[Any] = []
        self._free: list[Any] = []
        for _ in range(size):
            self._begin()

    def _begin(self) -> None:
        """One more actor; it is free once the cluster has a place for it, which may be never after a node was lost."""
        actor = self._make()
        with self._lock:
            self._actors.append(actor)

        def ready(future: Future[Any]) -> None:
            with self._lock:
                if future.exception() is None:
                    self._free.append(actor)

        actor.ready.remote().future().add_done_callback(ready)

    @property
    def free(self) -> int:
        with self._lock:
            return len(self._free)

    def submit(self, item: Item, part: Part | None, attempt: int) -> Future[Status]:
        with self._lock:
            actor = self._free.pop()

        def free(future: Future[Any]) -> None:
            if isinstance(future.exception(), self._gone):
                with self._lock:
                    self._actors.remove(actor)
                self._begin()
            else:
                with self._lock:
                    self._free.append(actor)

        ref = actor.run.remote(item, attempt) if part is None else actor.run_part.remote(item, part)
        future = ref.future()
        future.add_done_callback(free)
        return _translated(future, self._gone)

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()


def _translated(future: Future[Any], died: tuple[type[BaseException], ...]) -> Future[Status]:
    """The same, with WorkerDied for what the pool raises where a worker dies, and Ray's wrapping taken off."""
    result: Future[Status] = Future()
    result.set_running_or_notify_cancel()

    def done(of: Future[Any]) -> None:
        if of.cancelled():
            result.set_exception(WorkerDied("cancelled"))
            return
        error = of.exception()
        cause = getattr(error, "cause", None)
        if error is None:
            result.set_result(of.result())
        elif isinstance(error, died):
            code = getattr(error, "exitcode", None)
            result.set_exception(WorkerDied("its process ended" + (f" ({code})" if code is not None else "")))
        else:
            result.set_exception(cause if isinstance(cause, BaseException) else error)

    future.add_done_callback(done)
    return result
