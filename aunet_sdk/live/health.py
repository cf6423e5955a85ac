"""Whether a live run is well: what a watchdog, a container's probe and the page ask for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runner import LiveRunner

__all__ = ["Health", "health_of"]

HANGS_S = 10.0
"""A frame that is worked on for so long, or a main loop that stands still for so long, hangs."""


@dataclass(frozen=True)
class Health:
    """What holds at one moment."""

    alive: bool
    """False: something hangs that only a restart helps"""
    ready: bool
    """at least one source delivers, or is over, and its frames get results"""
    reason: str | None
    """why it is not alive or not ready"""
    engine: str
    """the engine that really runs, and on what"""
    fps: float | None
    """results per second, of all sources"""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in ("alive", "ready", "reason", "engine", "fps")}

    @property
    def line(self) -> str:
        """One line for people."""
        speed = "" if self.fps is None else f", {self.fps:.1f} results/s"
        return (self.reason or "running") + f"; {self.engine}{speed}"


def health_of(runner: LiveRunner, now_s: float | None = None) -> Health:
    """How `runner` is doing. A camera that is away is no reason for a restart: it is waited for. A frame in which the
    engine hangs is one, and so is a main loop that stands still."""
    now_s = time.monotonic() if now_s is None else now_s
    engine = runner.detector.engine
    named = f"{engine.name} ({', '.join(engine.providers)})"
    reasons = []
    if runner.ticked_s is not None and now_s - runner.ticked_s > HANGS_S:
        reasons.append(f"the main loop has stood still for {now_s - runner.ticked_s:.0f} s")
    reports = []
    for name, feed in runner.feeds.items():
        busy_s = feed.busy_since_s
        if busy_s is not None and now_s - busy_s > HANGS_S:
            reasons.append(f"{name}: one frame has been worked on for {now_s - busy_s:.0f} s")
        reports.append(feed.report())
    speeds = [report.fps for report in reports if report.fps is not None]
    fps = sum(speeds) if speeds else None
    if reasons:
        return Health(False, False, "; ".join(reasons), named, fps)
    going = [report for report in reports if report.results and report.state == "running"]
    if going or (runner.ticked_s is not None and not reports):
        return Health(True, True, None, named, fps)
    if runner.paused:
        return Health(True, True, "paused", named, fps)
    waiting = "; ".join(f"{r.name}: {r.state}{f', {r.reason}' if r.reason else ''}" for r in reports)
    return Health(True, False, waiting or "no source yet", named, fps)
