"""Live: sources that come and go on one detector, results to sinks, for months without a hand on it.

`runner.LiveRunner` is the engine of `aunet live`, and can be used without the command.
"""

from __future__ import annotations

from .feed import Feed, FeedReport
from .runner import LiveRunner

__all__ = ["Feed", "FeedReport", "LiveRunner"]
