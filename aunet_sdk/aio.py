"""asyncio: results of a source as an asynchronous iterator, while the event loop goes on.

async with Results(detector, "rtsp://camera/1") as results:
    async for result in results:
        ...
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from .detector import Detector
from .errors import AUNetError, InvalidInput
from .options import LookAhead
from .results import FrameResult
from .sources import Frame, open_source
from .stream import results_of

if TYPE_CHECKING:
    AnySource = SupportsIndex | str | PathLike[str] | Iterable[Frame]

__all__ = ["Results", "detect", "results"]

CAPACITY = 16


class Results:
    """The results of a source, as `Detector.stream` gives them, to be read with `async for`, once.

    The source is read and the network runs in a thread of its own, which begins with the first result that is asked
    for. It waits once `capacity` results have not been taken: a live source with the policy "latest" drops frames
    then, and counts them; a file waits.

    Args:
        detector: belongs to the caller; other streams of it may run at the same time.
        source: as for `Detector.stream`; what is opened here is closed at the end.
        look_ahead: None: that of the detector's options.
        capacity: 1 or more.

    Cancelling the task that waits here loses nothing: what was computed can still be read. `aclose`, or leaving `async
    with`, ends the thread: the source is closed, and the frame that is being worked on is waited for. What waited for
    a later frame is given up then. Raises what `Detector.stream` raises, after the results of all frames before.
    """

    def __init__(
        self,
        detector: Detector,
        source: AnySource,
        *,
        look_ahead: LookAhead | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise InvalidInput(f"capacity: expected a whole number from 1 on, got {capacity!r}")
        opened = open_source(source) if isinstance(source, (SupportsIndex, str, PathLike)) else source
        if not isinstance(opened, Iterable):
            raise InvalidInput(
                f"source: expected a path, a camera's number or an iterable of Frame, got {type(source).__name__}"
            )
        self._source = opened
        self._owned = opened is not source
        self._stream = detector.open_stream(look_ahead)
        self._capacity = capacity
        self._ready: deque[FrameResult] = deque()
        self._change = threading.Condition()
        self._arrived: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> FrameResult:
        self._start()
        assert self._arrived is not None
        while True:
            with self._change:
                if self._ready:
                    self._change.notify_all()
                    return self._ready.popleft()
                self._arrived.clear()
                ended, error, self._error = self._ended or self._stopped, self._error, None
            if error is not None:
                raise error
            if ended:
                raise StopAsyncIteration
            await self._arrived.wait()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._arrived = loop, asyncio.Event()
            if not self._stopped:
                self._thread = threading.Thread(target=self._work, name="aunet-aio", daemon=True)
                self._thread.start()
        elif self._loop is not loop:
            raise AUNetError("these results are read in another event loop already; open them anew")

    def _work(self) -> None:
        found = results_of(self._source, self._stream, close=self._owned)
        try:
            for result in found:
                with self._change:
                    while len(self._ready) >= self._capacity and not self._stopped:
                        self._change.wait()
                    if self._stopped:
                        break
                    self._ready.append(result)
                self._tell()
        except BaseException as error:
            self._error = None if self._stopped else error
        finally:
            found.close()  # type: ignore[attr-defined]  # a generator
            self._ended = True
            self._tell()

    def _tell(self) -> None:
        assert self._loop is not None and self._arrived is not None
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            with self._change:
                self._stopped = True

    async def aclose(self) -> None:
        """End the thread and close the source; results that were not taken are forgotten. May be called twice."""
        with self._change:
            self._stopped = True
            self._ready.clear()
            self._change.notify_all()
        if self._owned and hasattr(self._source, "close"):
            self._source.close()
        if self._thread is None:
            self._stream.close()
        else:
            await asyncio.shield(asyncio.to_thread(self._thread.join))

    async def __aenter__(self) -> Results:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def results(
    detector: Detector, source: AnySource, *, look_ahead: LookAhead | None = None, capacity: int = CAPACITY
) -> AsyncIterator[FrameResult]:
    """`Results` as an asynchronous generator, which ends its thread when it is given up; see there for the arguments.

    Where the loop over it may be left early, `async with contextlib.aclosing(results(...))` ends it at once.
    """
    async with Results(detector, source, look_ahead=look_ahead, capacity=capacity) as found:
        async for result in found:
            yield result


async def detect(detector: Detector, image: np.ndarray) -> FrameResult:
    """`Detector.detect` in a thread. A task that is cancelled meanwhile does not stop it; its result is lost."""
    return await asyncio.to_thread(detector.detect, image)
