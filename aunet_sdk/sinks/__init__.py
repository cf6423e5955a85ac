"""Where results go: tables, messages, an annotated video, images. Every sink is a context manager.

`open_sink` makes one from a URI; `FanOut` hands results on to any number of them, and none holds up the others.
"""

from __future__ import annotations

from .base import MessageSink, Sink
from .callback import CallbackSink
from .csv import CsvSink, csv_columns
from .fanout import FanOut
from .images import ImageSink
from .jsonl import JsonlSink
from .uri import SINK_FORMS, open_sink
from .video import VideoSink

__all__ = [
    "SINK_FORMS",
    "CallbackSink",
    "CsvSink",
    "FanOut",
    "ImageSink",
    "JsonlSink",
    "MessageSink",
    "Sink",
    "VideoSink",
    "csv_columns",
    "open_sink",
]
