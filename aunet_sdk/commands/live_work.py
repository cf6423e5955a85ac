"""What `aunet live` does: options and configuration become a detector, sources, sinks, a page and a view."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._util.uris import without_credentials
from ..errors import InvalidInput
from ..live.config import LiveConfig, SinkEntry, SourceEntry
from ..live.service import LiveService
from ..live.terminal import TerminalView
from ..sources import SourceOptions
from .exits import Exit, code_of, message_of, tell, worst

__all__ = ["Wishes", "run"]


@dataclass(frozen=True)
class Wishes:
    """The command line."""

    sources: Sequence[str] = ()
    sinks: Sequence[str] = ()
    detector: dict[str, Any] = field(default_factory=dict)
    realtime: bool = False
    duration_s: float | None = None
    serve: str | None = None
    token: str | None = None
    config: Path | None = None
    quiet: bool = False

    def resolved(self) -> LiveConfig:
        """The file's settings under those of the command line. Raises InvalidInput."""
        base = LiveConfig.read(self.config) if self.config is not None else LiveConfig()
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise InvalidInput(f"--duration: expected a number of seconds above 0, got {self.duration_s:g}")
        realtime = self.realtime or base.realtime
        if self.sources:
            options = SourceOptions(realtime=realtime)
            entries = tuple(SourceEntry(uri, without_credentials(uri), options) for uri in self.sources)
        else:
            entries = tuple(
                replace(entry, options=replace(entry.options, realtime=realtime or entry.options.realtime))
                for entry in base.sources
            )
        merged = replace(
            base,
            sources=entries,
            sinks=(*base.sinks, *(SinkEntry(uri) for uri in self.sinks)),
            detector={**base.detector, **self.detector},
            realtime=realtime,
            duration_s=base.duration_s if self.duration_s is None else self.duration_s,
            serve=base.serve if self.serve is None else self.serve,
            token=base.token if self.token is None else self.token,
        )
        shown = [without_credentials(entry.uri) for entry in merged.sinks]
        for uri in shown:
            if shown.count(uri) > 1:
                raise InvalidInput(f"sink: expected each once, got {uri} twice")
        if not merged.sources:
            raise InvalidInput(
                "live: expected a source, got none; give a camera's number, a file or an address, or [[source]] in "
                "the file of --config"
            )
        return merged


def run(wishes: Wishes) -> Exit:
    """Runs until the sources end. Raises AUNetError where something cannot be used from the start, or every sink gave
    way; KeyboardInterrupt and its children after everything that was due is written."""
    config = wishes.resolved()
    reload = threading.Event()
    shows = not wishes.quiet and sys.stderr is not None and sys.stderr.isatty()
    view = TerminalView() if shows else None
    with (
        _log_to_stderr(),
        _reloads(wishes.config is not None, reload),
        LiveService(
            config,
            extra={"terminal": view} if view is not None else None,
            reread=wishes.resolved if wishes.config is not None else None,
            wants_reload=reload,
        ) as service,
    ):
        if service.page_url is not None:
            tell(f"the page is at {service.page_url}")
        if not service.outputs.sinks and not any(entry.per_source for entry in config.sinks):
            tell("results go nowhere; give --sink jsonl:- or another, or --serve 127.0.0.1:8080")
        if view is not None:
            service.on_tick = view.tick
        with view or nullcontext():
            service.run()
        codes = []
        for name, error in service.runner.errors.items():
            code = code_of(error)
            codes.append(Exit.BROKEN if code is Exit.INPUT and name in service.delivered else code)
            tell(f"{name}: {message_of(error)}" if len(config.sources) > 1 else message_of(error))
    return worst(codes)


@contextmanager
def _reloads(possible: bool, reload: threading.Event) -> Iterator[None]:
    """SIGHUP reads the configuration again, where there is one; otherwise it ends the run as ever."""
    if not possible or not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda *_: reload.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Warnings of the package, a line each, unless somebody has set logging up."""
    logger = logging.getLogger("aunet_sdk")
    if logger.handlers or logging.getLogger().handlers:
        yield
        return
    handler = _Lines()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """To wherever standard error goes at that moment: a view takes it over."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(" ".join(record.getMessage().split()))
