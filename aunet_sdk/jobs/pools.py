"""Who works: processes of this machine (Pebble), or actors of a Ray cluster. Both keep their engines, and both outlive
a worker that dies: the file it had is given to another."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from ..errors import BackendUnavailable, InvalidInput
from ..options import DetectorOptions
from .dataset import Status
from .worker import Task, Worker

__all__ = ["LocalPool", "Pool", "RayPool", "WorkerDied"]


class WorkerDied(Exception):
    """A worker ended in the middle of a file: it was killed, ran out of memory, or its machine has gone."""


class Pool(ABC):
    """Takes files and parts of files. together: so many of them a worker has in hand at the same time."""

    together: int = 1

    @property
    @abstractmethod
    def free(self) -> int:
        """So many workers wait for files."""

    def submit(self, tasks: Sequence[Task]) -> list[Future[Status]]:
        """Give tasks to one worker; of each its status, when the worker has done all. The futures raise WorkerDied, or
        what the worker raises."""
        futures: list[Future[Status]] = [Future() for _ in tasks]
        for future in futures:
            future.set_running_or_notify_cancel()

        def done(of: Future[list[Status | Exception]]) -> None:
            error = None if of.cancelled() else of.exception()
            if of.cancelled() or error is not None:
                cause = WorkerDied("cancelled") if error is None else self._translated(error)
                for future in futures:
                    future.set_exception(cause)
                return
            for future, outcome in zip(futures, of.result(), strict=True):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

        self._give(list(tasks)).add_done_callback(done)
        return futures

    @abstractmethod
    def _give(self, tasks: list[Task]) -> Future[list[Status | Exception]]:
        """`Worker.run_all` by one of the free workers."""

    @abstractmethod
    def _translated(self, error: BaseException) -> BaseException:
        """WorkerDied for what the pool raises where a worker dies; its wrapping taken off."""

    @abstractmethod
    def close(self) -> None:
        """End the workers, at once."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()


_worker: Worker | None = None
"""that of this process"""


def _start(root: str, options: DetectorOptions, facts: Mapping[str, str], together: int) -> None:
    import signal

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the process group; the one that runs the job decides
    _worker = Worker(root, options, facts, together)


def _work(tasks: list[Task]) -> list[Status | Exception]:
    assert _worker is not None
    return _worker.run_all(tasks)


class LocalPool(Pool):
    """Processes of this machine. Raises BackendUnavailable where Pebble is missing."""

    def __init__(
        self, size: int, root: str, options: DetectorOptions, facts: Mapping[str, str], together: int = 1
    ) -> None:
        try:
            from pebble import ProcessExpired, ProcessPool
        except ImportError as error:
            raise BackendUnavailable(f'workers need pebble: {error}; pip install "aunet_sdk[jobs]"') from error
        import multiprocessing

        self._size, self._expired, self.together = size, ProcessExpired, together
        self._busy: set[Future[list[Status | Exception]]] = set()
        self._pool = ProcessPool(
            size,
            initializer=_start,
            initargs=[root, options, dict(facts), together],
            context=multiprocessing.get_context("spawn"),  # a fork would carry the threads' locks along
        )

    @property
    def free(self) -> int:
        self._busy = {future for future in self._busy if not future.done()}
        return self._size - len(self._busy)

    def _give(self, tasks: list[Task]) -> Future[list[Status | Exception]]:
        future: Future[list[Status | Exception]] = self._pool.schedule(_work, args=[tasks])
        self._busy.add(future)
        return future

    def _translated(self, error: BaseException) -> BaseException:
        return _died(error) if isinstance(error, self._expired) else error

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()


class RayPool(Pool):
    """Actors of a Ray cluster, one per worker. The data set's folder has to be the same one on every machine.

    address: "auto", "ray://HOST:10001" or "local". Raises BackendUnavailable where Ray is missing, InvalidInput where
    no cluster answers.
    """

    def __init__(
        self,
        size: int | None,
        address: str,
        root: str,
        options: DetectorOptions,
        facts: Mapping[str, str],
        together: int = 1,
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
        self._make: Callable[[], Any] = lambda: make(root, options, dict(facts), together)
        self.together = together
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

    def _give(self, tasks: list[Task]) -> Future[list[Status | Exception]]:
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

        future: Future[list[Status | Exception]] = actor.run_all.remote(tasks).future()
        future.add_done_callback(free)
        return future

    def _translated(self, error: BaseException) -> BaseException:
        cause = getattr(error, "cause", None)
        if isinstance(error, self._gone):
            return _died(error)
        return cause if isinstance(cause, BaseException) else error

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()


def _died(error: BaseException) -> WorkerDied:
    code = getattr(error, "exitcode", None)
    return WorkerDied("its process ended" + (f" ({code})" if code is not None else ""))
