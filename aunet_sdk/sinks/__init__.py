"""Where results go: a CSV table, an annotated video, annotated images. Every sink is a context manager."""

from __future__ import annotations

from .csv import CsvSink, csv_columns
from .video import ImageSink, VideoSink

__all__ = ["CsvSink", "ImageSink", "VideoSink", "csv_columns"]
