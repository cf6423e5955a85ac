"""Reading ahead: a source's frames are made in a thread of their own while the caller works on earlier ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from ..errors import InvalidInput

__all__ = ["ReadAhead"]

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterates over `items` in a daemon thread, at most `depth` of them ahead of the caller.

    Nothing is dropped and the order is kept: when `depth` items wait, the thread waits too. An error of `items` (any
    kind) is raised to the caller in its place, after every item before it. `close` stops the thread, which then closes
    `items` where that is a generator; it waits for the item that is just being made. For sources that can wait, such as
    files; a camera would only grow stale.

    Args:
        items: consumed by the thread alone, from the first `next` on.
        depth: at least 1.

    Raises InvalidInput for a wrong depth.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise InvalidInput(f"depth: expected a whole number from 1 on, got {depth!r}")
        self._items = items
        self._depth = depth
        self._ready: deque[T] = deque()
        self._change = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._change:
            if self._stopped:
                raise StopIteration
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="aunet-read-ahead", daemon=True)
                self._thread.start()
            while not (self._ready or self._ended):
                self._change.wait()
            if self._ready:
                item = self._ready.popleft()
                self._change.notify()
                return item
            error, self._error = self._error, None
        self.close()
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Stop, and forget the items that wait. May be called twice, and from another thread."""
        with self._change:
            self._stopped = True
            self._ready.clear()
            thread = self._thread
            self._change.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                with self._change:
                    while len(self._ready) >= self._depth and not self._stopped:
                        self._change.wait()
                    if self._stopped:
                        break
                    self._ready.append(item)
                    self._change.notify()
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()
