"""Any number of sinks at once, of which none holds up the caller or another sink."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._util.uris import without_credentials
from ..errors import AUNetError, InvalidInput, OutputLost
from .base import Sink
from .branch import Branch, Limits, Parcel, Policy

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult
    from .message import EventLike

__all__ = ["FanOut"]


class FanOut(Sink):
    """A sink that hands everything on to many, each with a bounded queue and a thread of its own.

    Args:
        sinks: by name, such as their URIs; user, password and token in a name are hidden. They belong to this FanOut
            from now on, which closes them.
        policy: what happens where a queue is full. "drop-oldest", for live sources: the oldest frame in it goes, and
            is counted; the caller never waits. "wait", for files: the caller waits, so that nothing is lost, but not
            for a sink that is in trouble, nor for one that has been at one parcel for longer than `stall_s`.
        capacity: results, events and statuses that may wait before each sink.
        most_bytes: of the pictures among them; only sinks that look at pictures keep any.
        stall_s: from when on a sink that takes nothing counts as stalled.
        end_s: how long a sink may take to come to its end in `remove` and `close`.
        backoff_s: (first, longest) pause before a sink with `retries` is tried again after OutputLost; it doubles.

    A sink that raises OutputLost is tried again where it has `retries` (a network), or else set aside: it is in
    `failed`, gets nothing more, and is told of once in the log. Any other error is taken to be about the one result: it
    is left out, counted, and `trouble` has the reason until the sink takes something again.

    Everything may be called from any thread. `put` and the like raise AUNetError after `close`.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink] | None = None,
        *,
        policy: Policy = "drop-oldest",
        capacity: int = 256,
        most_bytes: int = 64 << 20,
        stall_s: float = 30.0,
        end_s: float = 10.0,
        backoff_s: tuple[float, float] = (0.5, 30.0),
    ) -> None:
        self._limits = Limits(policy, capacity, most_bytes, stall_s, end_s, backoff_s)
        self._lock = threading.Lock()
        self._branches: Mapping[str, Branch] = {}
        self._closed = False
        self._enders: list[threading.Thread] = []
        for name, sink in (sinks or {}).items():
            self.add(name, sink)

    @property
    def sinks(self) -> Mapping[str, Sink]:
        """By name, those that were set aside included."""
        return MappingProxyType({name: branch.sink for name, branch in self._branches.items()})

    @property
    def dropped(self) -> Mapping[str, int]:
        """By name, how many results, events and statuses did not reach their sink so far."""
        return MappingProxyType({name: branch.dropped for name, branch in self._branches.items()})

    @property
    def failed(self) -> Mapping[str, str]:
        """Why a sink was set aside, by the names of those that were."""
        branches = self._branches.items()
        return MappingProxyType({name: branch.failed for name, branch in branches if branch.failed is not None})

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why nothing gets through at the moment, by the names of the sinks that may come back by themselves."""
        known = ((name, branch.trouble) for name, branch in self._branches.items() if branch.failed is None)
        return MappingProxyType({name: reason for name, reason in known if reason is not None})

    def add(self, name: str, sink: Sink) -> None:
        """One more sink, which gets what comes from now on. Raises InvalidInput where the name is in use."""
        name = without_credentials(name)
        with self._lock:
            self._check_open()
            if name in self._branches:
                raise InvalidInput(f"sink: expected a name that is not in use, got {name!r}; remove it first")
            self._branches = {**self._branches, name: Branch(name, sink, self._limits)}

    def remove(self, name: str) -> None:
        """Deliver what waits for this sink, and close it. Raises InvalidInput for an unknown name; OutputLost where it
        fails now, which was not in `failed` before; it is gone all the same."""
        name = without_credentials(name)
        with self._lock:
            branch = self._branches.get(name)
            if branch is None:
                raise InvalidInput(f"sink: expected one of {', '.join(self._branches) or 'none'}, got {name!r}")
            self._branches = {key: each for key, each in self._branches.items() if key != name}
        failed_before = branch.failed is not None
        branch.end()
        if branch.failed is not None and not failed_before:
            raise OutputLost(f"sink {name}: {branch.failed}")

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        """Never waits with the policy "drop-oldest". The picture must not be written into afterwards."""
        n_bytes = 0 if image is None else int(image.nbytes)
        with_image: Parcel | None = None
        without: Parcel | None = None
        for branch in self._open_branches():
            if branch.sink.takes_images:
                with_image = with_image or Parcel(lambda sink: sink.put(result, image, file), True, n_bytes)
                branch.offer(with_image)
            else:
                without = without or Parcel(lambda sink: sink.put(result, None, file), True)
                branch.offer(without)

    def event(self, event: EventLike) -> None:
        self._offer(lambda sink: sink.event(event))

    def status(self, status: dict[str, Any]) -> None:
        self._offer(lambda sink: sink.status(status))

    def flush(self) -> None:
        """Wait until what came so far is delivered, up to `end_s` for each sink and not for those in trouble."""
        for branch in self._open_branches():
            branch.flush()

    def close(self) -> None:
        """Deliver what waits, and close the sinks. It may be called twice, also by two threads at once: each returns
        when all are closed.

        Raises OutputLost with the reasons, for the first caller, where a sink has failed at any time.
        """
        with self._lock:
            first = not self._closed
            self._closed = True
            if first:  # at the same time, since each may take a while
                branches = self._branches.values()
                self._enders = [threading.Thread(target=branch.end, daemon=True) for branch in branches]
                for thread in self._enders:
                    thread.start()
        for thread in self._enders:
            if thread is not threading.current_thread():  # a sink that closes what it is in
                thread.join()
        if first and self.failed:
            raise OutputLost("; ".join(f"sink {name}: {reason}" for name, reason in self.failed.items()))

    def _offer(self, deliver: Callable[[Sink], object]) -> None:
        parcel = Parcel(deliver, is_frame=False)
        for branch in self._open_branches():
            branch.offer(parcel)

    def _open_branches(self) -> list[Branch]:
        self._check_open()
        return list(self._branches.values())

    def _check_open(self) -> None:
        if self._closed:
            raise AUNetError("this FanOut is closed; make a new one")
