"""Sources by URI, until the package has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..sources import Frame, Source
from ..sources import open_source as open_path_or_camera


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened."""

    realtime: bool = False
    """a file comes at its own pace"""


class Paced:
    """A file at its own pace."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._closing = threading.Event()
        self.frame_count = source.frame_count

    def __iter__(self) -> Iterator[Frame]:
        start_s: float | None = None
        for frame in self._source:
            now_s = time.monotonic()
            if start_s is None:
                start_s = now_s - frame.timestamp_s
            if self._closing.wait(max(0.0, start_s + frame.timestamp_s - now_s)):
                return
            yield frame

    def close(self) -> None:
        self._closing.set()
        self._source.close()


def open_source(uri: str, options: SourceOptions) -> Source:
    source = open_path_or_camera(uri)
    return Paced(source) if options.realtime else source
