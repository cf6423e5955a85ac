"""Reading ahead: a source's frames are made in a thread of their own while the caller works on earlier ones."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from ..errors import InvalidInput

__all__ = ["ReadAhead"]

T = TypeVar("T")

EXIT_WAIT_S = 10.0
"""so long the end of the program, or of a caller, waits for the item that is just being made"""


class ReadAhead(Generic[T]):
    """Iterates over `items` in a thread, at most `depth` of them ahead of the caller.

    Nothing is dropped and the order is kept: when `depth` items wait, the thread waits too. An error of `items` (any
    kind) is raised to the caller in its place, after every item before it. `close` stops the thread, which then closes
    `items` where that is a generator; it waits for the item that is just being made. The same happens where this object
    is forgotten, and at the end of the program: no thread is left inside a decoder while Python goes down. For sources
    that can wait, such as files; a camera would only grow stale.

    Args:
        items: consumed by the thread alone, from the first `next` on.
        depth: at least 1.

    Raises InvalidInput for a wrong depth.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise InvalidInput(f"depth: expected a whole number from 1 on, got {depth!r}")
        self._line: _Line[T] = _Line(items, depth)
        # Runs once: at `close`, when this object is collected, or before the interpreter shuts down. The thread knows
        # the line alone, so that it does not keep this object.
        self._stop = weakref.finalize(self, self._line.stop)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        line = self._line
        with line.change:
            if line.stopped:
                raise StopIteration
            line.start()
            while not (line.ready or line.ended):
                line.change.wait()
            if line.ready:
                item = line.ready.popleft()
                line.change.notify_all()
                return item
            error, line.error = line.error, None
        self.close()
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Stop, and forget the items that wait. May be called twice, and from another thread."""
        self._stop()
        self._line.stop()  # whoever comes second waits for the thread too


class _Line(Generic[T]):
    """What the caller's side and the thread share."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self.items = items
        self.depth = depth
        self.ready: deque[T] = deque()
        self.change = threading.Condition()  # its lock is reentrant: the collector may run `stop` in any thread
        self.error: BaseException | None = None
        self.ended = False
        self.stopped = False
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """The thread, unless it runs. A daemon: Python would wait for any other before it lets us stop it."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="aunet-read-ahead", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        with self.change:
            self.stopped = True
            self.ready.clear()
            thread = self.thread
            self.change.notify_all()
        if thread is None:
            _close(self.items)
        elif thread is not threading.current_thread():
            thread.join(EXIT_WAIT_S)

    def _work(self) -> None:
        try:
            for item in self.items:
                with self.change:
                    while len(self.ready) >= self.depth and not self.stopped:
                        self.change.wait()
                    if self.stopped:
                        break
                    self.ready.append(item)
                    self.change.notify_all()
            _close(self.items)
        except BaseException as error:
            self.error = error
        finally:
            with self.change:
                self.ended = True
                self.change.notify_all()


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
