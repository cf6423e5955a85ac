"""Sources and sinks of our own making for the tests of live runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from aunet_sdk import Frame, FrameResult
from aunet_sdk.post.events import AUEvent
from aunet_sdk.sinks import Sink

from ..streams import clip


class Script:
    """A file: the painted clip. `gate` is waited for before every frame but the first `free` ones."""

    frame_count = None

    def __init__(self, count: int = 30, free: int | None = None, error: BaseException | None = None) -> None:
        self.frames = [Frame(image, time_s, i) for i, (image, time_s) in enumerate(clip(count))]
        self.free = count if free is None else free
        self.gate, self.closed = threading.Event(), threading.Event()
        self.error = error

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            if frame.index >= self.free:
                while not (self.gate.wait(0.01) or self.closed.is_set()):
                    pass
            if self.closed.is_set():
                return
            yield frame
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed.set()


class Camera(Script):
    """A live source, whose state and drops can be set."""

    state = "running"
    reason: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.dropped: Mapping[str, int] = {}


class Kept(Sink):
    """Keeps everything. `on_put` is called with every result."""

    def __init__(self, on_put: Callable[[FrameResult], object] | None = None) -> None:
        self.results: list[FrameResult] = []
        self.pictures: list[np.ndarray | None] = []
        self.files: Counter[str | None] = Counter()
        self.events: list[AUEvent] = []
        self.statuses: list[dict[str, Any]] = []
        self.closed = 0
        self.dropped: dict[str, int] = {}
        self._on_put = on_put

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        self.results.append(result)
        self.pictures.append(image)
        self.files[file] += 1
        if self._on_put is not None:
            self._on_put(result)

    def event(self, event: Any) -> None:
        self.events.append(event)

    def status(self, status: dict[str, Any]) -> None:
        self.statuses.append(status)

    def close(self) -> None:
        self.closed += 1
