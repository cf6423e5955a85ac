"""What a live run shows in a terminal: sources, people with their Action Units, the last events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from .._util.uris import without_credentials
from ..sinks import Sink

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console, RenderableType
    from rich.table import Table

    from ..results import Face, FrameResult
    from ..sinks.message import EventLike
    from .feed import FeedReport
    from .health import Health

__all__ = ["TerminalView"]

EVENTS = 6
PEOPLE = 6
REFRESH_HZ = 4


class TerminalView(Sink):
    """A sink that keeps the newest of everything, and a context in which it is shown.

    Args:
        console: of rich, where to show it; None: standard error, so that messages can go to standard output.
    """

    takes_images = False

    def __init__(self, console: Console | None = None) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, FrameResult] = {}
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._reports: Sequence[FeedReport] = ()
        self._health: Health | None = None
        self._troubles: dict[str, str] = {}
        self._console = console
        self._screen: object = None

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        with self._lock:
            self._newest[without_credentials(file or "")] = result

    def event(self, event: EventLike) -> None:
        source = getattr(event, "source", None)
        where = f"{source}, " if source and len(self._reports) > 1 else ""
        phase = str(event.phase)
        length = f", {event.duration_s:.2f} s" if phase == "offset" else ""
        with self._lock:
            text = f"{event.timestamp_s:9.2f} s  {where}face {event.face}: {event.au} {phase}, peak {event.peak:.2f}"
            self._events.append(text + length)

    def tick(self, reports: Sequence[FeedReport], health: Health, troubles: dict[str, str]) -> None:
        """How the sources are doing now, and what is wrong with which sink."""
        with self._lock:
            self._reports, self._health, self._troubles = reports, health, troubles
            names = {report.name for report in reports}
            for name in [name for name in self._newest if name and name not in names]:
                del self._newest[name]

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            parts: list[RenderableType] = []
            if self._health is not None:
                style = "green" if self._health.ready else "yellow" if self._health.alive else "bold red"
                parts.append(Text(self._health.line, style))
            parts.append(self._sources())
            people = [(name, face) for name, result in self._newest.items() for face in result.faces]
            parts += [self._person(name, face) for name, face in people[:PEOPLE]]
            if len(people) > PEOPLE:
                parts.append(Text(f"and {len(people) - PEOPLE} more people", "dim"))
            parts += [Text(f"{name}: {reason}", "red") for name, reason in self._troubles.items()]
            parts += [Text(line, "dim") for line in self._events]
        return Group(*parts)

    def _sources(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("source", "state", "results/s", "age ms", "frames", "dropped"):
            table.add_column(name, justify="left" if name in ("source", "state", "dropped") else "right")
        for report in self._reports:
            dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.dropped.items()))
            table.add_row(
                Text(report.name, overflow="ellipsis", no_wrap=True),
                Text(f"{report.state}{f' ({report.reason})' if report.reason else ''}"),
                "" if report.fps is None else f"{report.fps:.1f}",
                "" if report.age_ms is None else f"{report.age_ms:.0f}",
                str(report.frames),
                Text(dropped),
            )
        return table

    def _person(self, source: str, face: Face) -> RenderableType:
        from rich.text import Text

        several = len(self._reports) > 1
        line = Text(f"{source + '  ' if several and source else ''}face {face.id:<3}", "bold", no_wrap=True)
        for name, value, active in zip(face.au_names, face.probabilities.tolist(), face.active.tolist(), strict=True):
            hidden = face.valid.get(name) is False
            bar = "?" if hidden or value != value else _EIGHTHS[min(8, int(value * 9))]
            line.append(f" {name[2:]}", "dim" if hidden else "bold green" if active else "")
            line.append(bar, "dim" if hidden else "green" if active else "blue")
        line.overflow = "ellipsis"
        return line

    def __enter__(self) -> TerminalView:
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(stderr=True)
        self._screen = screen = Live(console=console, get_renderable=self.__rich__, refresh_per_second=REFRESH_HZ)
        screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            with suppress(OSError):  # the terminal has gone
                screen.stop()  # type: ignore[attr-defined]


_EIGHTHS = " ▁▂▃▄▅▆▇█"
