"""The terminal view, as text."""

from __future__ import annotations

import io
from types import SimpleNamespace

from rich.console import Console

from aunet_sdk.live.feed import FeedReport
from aunet_sdk.live.health import Health
from aunet_sdk.live.terminal import TerminalView

from ..scripted import face, frame


def shown(view: TerminalView, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(view)
    return console.export_text()


def test_it_shows_sources_people_events_and_troubles() -> None:
    view = TerminalView()
    assert "source" in shown(view)
    report = FeedReport("door", "reconnecting", "[no] route", 29.97, 31.4, 300, 290, 1, {"superseded": 4})
    event = SimpleNamespace(phase="offset", au="AU12", face=2, timestamp_s=1.5, peak=0.9, duration_s=0.7, source="door")
    view.tick([report, report], Health(True, False, "door: reconnecting", "ort (CPU)", 29.97), {"mqtt": "refused"})
    view.event(event)
    view.put(frame(3, *(face(i) for i in range(1, 9))), None, "door")
    view.put(frame(3, face(1)), None, "rtsp://user:secret@gone")
    text = shown(view)
    for words in ("door", "reconnecting ([no] route)", "30.0", "31", "4 superseded", "mqtt: refused", "ort (CPU)"):
        assert words in text, text
    assert "door, face 2: AU12 offset, peak 0.90, 0.70 s" in text and "door  face 1" in text
    assert "and 3 more people" in text and "secret" not in text and "26" in text
    assert all(len(line) <= 60 for line in shown(view, 60).splitlines())


def test_it_opens_and_closes_on_whatever_it_is_given() -> None:
    stream = io.StringIO()
    with TerminalView(Console(file=stream, force_terminal=True, width=80)) as view:
        view.put(frame(0, face(1)))
    assert "face 1" in stream.getvalue()
