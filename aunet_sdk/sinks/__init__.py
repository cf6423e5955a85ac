"""Where results go: a CSV table, JSON Lines, an annotated video, annotated images. Every sink is a context manager."""

from __future__ import annotations

from .base import Sink
from .csv import CsvSink, csv_columns
from .images import ImageSink
from .jsonl import JsonlSink
from .video import VideoSink

__all__ = ["CsvSink", "ImageSink", "JsonlSink", "Sink", "VideoSink", "csv_columns"]
