"""Prometheus: a page /metrics with counts and states, by prometheus_client. Nothing on it tells one person from
another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import AUNetError, InvalidInput
from .base import Sink
from .extras import load_extra
from .message import STATES

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult
    from .message import EventLike

__all__ = ["PrometheusSink"]

REQUEST_S = 10.0
"""how long a client may take to say what it wants"""


class PrometheusSink(Sink):
    """Serves http://HOST:PORT/metrics; docs/sinks.md has the names.

    host, port: where it listens; the port 0 is any that is free, see the attribute `port`. Provisional results are not
    counted.

    Raises InvalidInput where it cannot listen; BackendUnavailable where prometheus_client is missing.
    """

    takes_images = False

    def __init__(self, host: str, port: int) -> None:
        library = load_extra("prometheus_client", "Prometheus", 'pip install "aunet_sdk[prometheus]"')
        core = load_extra("prometheus_client.core", "Prometheus", 'pip install "aunet_sdk[prometheus]"')
        registry = library.CollectorRegistry()
        self._frames = library.Counter("aunet_frames", "results so far", registry=registry)
        self._faces = library.Gauge("aunet_faces", "people in the last result", registry=registry)
        self._active = library.Gauge("aunet_au_active", "people whose AU is active", ["au"], registry=registry)
        self._events = library.Counter("aunet_events", "events that began", ["au"], registry=registry)
        self._latency = library.Histogram(
            "aunet_latency_seconds",
            "computing time of a frame",
            registry=registry,
            buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0),
        )
        self._fps = library.Gauge("aunet_fps", "results per second", registry=registry)
        self._state = library.Enum("aunet_state", "state of the source", states=list(STATES), registry=registry)
        self._engine = library.Info("aunet_engine", "the engine that really runs", registry=registry)
        self._dropped = _Dropped(core)
        registry.register(self._dropped)
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        try:
            self._server, self._thread = library.start_http_server(port, host, registry)
        except (OSError, UnicodeError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"Prometheus: cannot listen at {host}:{port}: {reason}; give another address") from error
        handler = self._server.RequestHandlerClass
        self._server.RequestHandlerClass = type("Handler", (handler,), {"timeout": REQUEST_S})
        self.port: int = self._server.server_port
        self._closed = False

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if self._closed:
            raise AUNetError("Prometheus: this sink is closed; make a new one")
        if result.provisional:
            return
        counts = dict.fromkeys(result.au_names, 0)
        for face in result.faces:
            for name in face.active_aus:
                counts[name] = counts.get(name, 0) + 1
        with self._lock:
            self._frames.inc()
            self._faces.set(len(result.faces))
            for name in self._seen - set(counts):
                self._active.labels(name).set(0)
            for name, count in counts.items():
                self._active.labels(name).set(count)
            self._seen |= set(counts)
            if "total" in result.latency_ms:
                self._latency.observe(result.latency_ms["total"] / 1e3)

    def event(self, event: EventLike) -> None:
        if str(event.phase) == "onset":
            self._events.labels(event.au).inc()

    def status(self, status: dict[str, Any]) -> None:
        self._state.state(status["state"])
        self._fps.set(float("nan") if status["fps"] is None else status["fps"])
        self._engine.info({"name": status["engine"] or ""})
        self._dropped.counts = dict(status["dropped"])

    def close(self) -> None:
        """It may be called twice."""
        if not self._closed:
            self._closed = True
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)


class _Dropped:
    """Counters whose values come from the status."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.counts: dict[str, int] = {}

    def collect(self) -> Iterator[Any]:
        family = self._library.CounterMetricFamily(
            "aunet_dropped", "frames and messages that were dropped", labels=["reason"]
        )
        for reason, count in self.counts.items():
            family.add_metric([reason], count)
        yield family
