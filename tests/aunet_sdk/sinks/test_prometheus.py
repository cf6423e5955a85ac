"""Prometheus, read over HTTP by its own parser."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.results import FrameResult
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import status_message

from ..scripted import face, frame

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")


def scrape(port: int) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        text = page.read().decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_counts_and_states() -> None:
    with open_sink("prometheus://127.0.0.1:0") as sink:
        assert scrape(sink.port)[("aunet_frames_total",)] == 0
        sink.put(FrameResult(0, 0.0, 320, 240, faces=(face(), face(2)), latency_ms={"total": 12.0}))
        sink.put(FrameResult(1, 0.04, 320, 240, faces=(face(provisional=True),), provisional=True))
        for phase in Phase:
            sink.event(AUEvent(phase, "AU12", 1, 0.2, 0.9, 0.1))
        sink.status(status_message("running", engine="openvino", fps=24.5, dropped={"late": 7, "sink mqtt": 2}))
        got = scrape(sink.port)
        assert got[("aunet_frames_total",)] == 1 and got[("aunet_faces",)] == 2
        assert got[("aunet_au_active", "AU26")] == 2 and got[("aunet_au_active", "AU1")] == 0
        assert got[("aunet_events_total", "AU12")] == 1
        assert got[("aunet_latency_seconds_bucket", "0.01")] == 0 and got[("aunet_latency_seconds_bucket", "0.02")] == 1
        assert got[("aunet_fps",)] == 24.5
        assert got[("aunet_state", "running")] == 1 and got[("aunet_state", "lost")] == 0
        assert got[("aunet_engine_info", "openvino")] == 1
        assert got[("aunet_dropped_total", "late")] == 7 and got[("aunet_dropped_total", "sink mqtt")] == 2
        sink.put(frame(2))
        got = scrape(sink.port)
        assert got[("aunet_faces",)] == 0 and got[("aunet_au_active", "AU26")] == 0, "nobody is there any more"
        with pytest.raises(InvalidInput, match="cannot listen"):
            open_sink(f"prometheus://127.0.0.1:{sink.port}")
        port = sink.port
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(3))
    with pytest.raises(OSError):
        scrape(port)


def test_clients_that_say_nothing_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aunet_sdk.sinks.prometheus.REQUEST_S", 0.1)
    with open_sink("prometheus://127.0.0.1:0") as sink:
        with socket.create_connection(("127.0.0.1", sink.port)) as mute:
            mute.settimeout(30)
            assert mute.recv(1) == b""
        assert scrape(sink.port)[("aunet_frames_total",)] == 0
