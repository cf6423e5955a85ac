"""`/metrics`: how the run is doing, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...sinks.message import STATES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["CONTENT_TYPE", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(sources: Iterable[Any], viewers: int, pictures: int, left_out: int) -> bytes:
    """The page's numbers. sources: see `server.SourceView`."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(list(sources), viewers, pictures, left_out))
    return generate_latest(registry)


class _Numbers:
    def __init__(self, sources: list[Any], viewers: int, pictures: int, left_out: int) -> None:
        self._sources, self._viewers, self._pictures, self._left_out = sources, viewers, pictures, left_out

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        results = CounterMetricFamily("aunet_results", "Results so far.", labels=["source"])
        faces = GaugeMetricFamily("aunet_faces", "Faces in the last result.", labels=["source"])
        fps = GaugeMetricFamily("aunet_fps", "Results per second.", labels=["source"])
        age = GaugeMetricFamily("aunet_age_seconds", "Median from a frame to its result.", labels=["source"])
        state = GaugeMetricFamily("aunet_source_state", "1 for the state the source is in.", labels=["source", "state"])
        dropped = CounterMetricFamily("aunet_dropped", "Frames and messages dropped.", labels=["source", "reason"])
        engine = InfoMetricFamily("aunet_engine", "The engine that really runs.")
        for source in self._sources:
            status: Mapping[str, Any] = source.status or {}
            results.add_metric([source.name], source.results)
            faces.add_metric([source.name], source.faces)
            if source.fps is not None:
                fps.add_metric([source.name], source.fps)
            if status.get("age_ms") is not None:
                age.add_metric([source.name], status["age_ms"] / 1000)
            for each in STATES if status else ():
                state.add_metric([source.name, each], float(status.get("state") == each))
            for reason, count in (status.get("dropped") or {}).items():
                dropped.add_metric([source.name, reason], count)
        named = next((s.status["engine"] for s in self._sources if s.status and s.status.get("engine")), None)
        if named is not None:
            engine.add_metric([], {"name": named})
        yield from (results, faces, fps, age, state, dropped, engine)
        yield GaugeMetricFamily("aunet_page_viewers", "Open pages.", self._viewers)
        yield CounterMetricFamily("aunet_page_pictures", "Pictures made for the page.", self._pictures)
        yield CounterMetricFamily("aunet_page_left_out", "Frames that slow viewers did not get.", self._left_out)
