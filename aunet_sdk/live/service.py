"""LiveService: a configuration at work. It opens what the configuration names, and follows it when it changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._util.uris import without_credentials
from ..detector import Detector
from ..errors import AUNetError, InvalidInput, OutputLost
from ..options import DetectorOptions
from ..sinks import FanOut, open_sink
from ..sources import open_source
from .config import LiveConfig, SinkEntry, SourceEntry
from .feed import Feed
from .health import Health, health_of
from .notify import Notifier
from .runner import LiveRunner

if TYPE_CHECKING:
    from ..sinks import Sink
    from ..sources import Source
    from .feed import FeedReport

__all__ = ["LiveService"]

log = logging.getLogger(__name__)


class LiveService:
    """Everything that runs in one `aunet live`.

    Args:
        config: what to run.
        extra: sinks beside those of the configuration, by name, such as a view; closed at the end.
        reread: gives the configuration anew for `reload`; None: there is nothing to reload.
        wants_reload: what `reload` sets, for a signal that may come before the service is there; None: one of its own.

    The constructor opens sources and sinks and loads the model, in this order, so that a path that is spelt wrong is
    an error before the model is loaded. Raises AUNetError, with nothing left open. `run` then blocks.
    """

    def __init__(
        self,
        config: LiveConfig,
        *,
        extra: Mapping[str, Sink] | None = None,
        reread: Callable[[], LiveConfig] | None = None,
        wants_reload: threading.Event | None = None,
    ) -> None:
        self.config = config
        self._reread = reread
        self._wants_reload = threading.Event() if wants_reload is None else wants_reload
        self._extra = dict(extra or {})
        self.delivered: set[str] = set()
        """names of the sources, also of those that have ended, that gave at least one result"""
        self._own: dict[str, FanOut] = {}
        self._fps: dict[str, float | None] = {}
        self.page_url: str | None = None
        """where the page is, if there is one"""
        self._entries: dict[str, SourceEntry] = {}
        with ExitStack() as stack:
            opened: list[tuple[SourceEntry, Source]] = []
            for entry in config.sources:
                source: Source = open_source(entry.uri, entry.options)
                stack.callback(source.close)
                self._fps[entry.name] = getattr(source, "fps", None)
                opened.append((entry, source))
            self.detector = stack.enter_context(Detector(DetectorOptions(**config.detector)))
            self._lossless = not any(getattr(source, "live", False) for _, source in opened)
            sinks: dict[str, Sink] = dict(self._extra)
            for each in config.sinks:
                if not each.per_source:
                    sinks[self._name(each)] = stack.enter_context(self._open_sink(each, None))
            if config.serve is not None:
                sinks["page"] = stack.enter_context(self._open_page(config.serve, config.token))
            self.outputs = stack.enter_context(self._fan_out(sinks))
            self.runner = LiveRunner(
                self.detector,
                [self.outputs],
                events=config.events,
                thresholds=config.thresholds or None,
                on_tick=self._ticked,
                on_end=self._ended,
            )
            stack.callback(self.runner.stop)
            if config.thresholds:
                self.runner.use_thresholds(config.thresholds)
            for entry, source in opened:
                self._add(entry, source)
            self.notifier = stack.enter_context(Notifier())
            self._stack = stack.pop_all()
        self.on_tick: Callable[[Sequence[FeedReport], Health, dict[str, str]], object] | None = None
        self._told_ready = False

    def run(self) -> None:
        """Until the sources end, the configuration's `duration_s` is over, `stop` is called, or every sink has given
        way (OutputLost). Raises what broke the source where there was one alone; else see `runner.errors`."""
        self.runner.run(self.config.duration_s)

    def stop(self) -> None:
        """End in order; may be called from any thread."""
        self.runner.stop()

    def reload(self) -> None:
        """Read the configuration again, within a second; may be called from a signal handler."""
        self._wants_reload.set()

    def health(self) -> Health:
        """How it is doing."""
        return health_of(self.runner)

    def command(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the page may ask for: pause, resume, calibrate (`face`, `source`). Raises InvalidInput for others."""
        if name in ("pause", "resume"):
            self.runner.pause(name == "pause")
            return {"paused": self.runner.paused}
        if name == "calibrate":
            return {"calibrated": self.runner.calibrate(arguments.get("face"), arguments.get("source") or None)}
        raise InvalidInput(f"command: expected pause, resume or calibrate, got {name!r}")

    def close(self) -> None:
        """End the sources, then the sinks, then the detector."""
        self.notifier.stopping()
        self._stack.close()

    def __enter__(self) -> LiveService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The configuration at work

    def _fan_out(self, sinks: Mapping[str, Sink]) -> FanOut:
        """Files wait for their sinks, so that nothing is lost; a camera does not wait for anybody."""
        return FanOut(sinks, policy="wait" if self._lossless else "drop-oldest")

    def _open_page(self, address: str, token: str | None) -> Sink:
        from .page import Notice, PageServer

        host, port = _host_and_port(address)
        page = PageServer(
            host,
            port,
            token,
            self.command,
            health=lambda: self.health().to_dict(),
            sources=[entry.name for entry in self.config.sources],
            au_names=self.detector.au_names,
            thresholds=self.detector.thresholds,
            notice=Notice(**self.config.notice),
        )
        self.page_url = page.url
        return page

    def _name(self, entry: SinkEntry) -> str:
        return without_credentials(entry.uri)

    def _open_sink(self, entry: SinkEntry, source: str | None) -> Sink:
        uri = entry.uri if source is None else entry.uri.replace("{source}", _file_name(source))
        alone = self.config.sources[0].name if len(self.config.sources) == 1 else ""
        return open_sink(
            uri,
            source=source or alone,
            au_names=self.detector.au_names,
            provisional=self.detector.options.look_ahead == "both",
            fps=self._fps.get(source or alone) or 30.0,
            **dict(entry.options),
        )

    def _add(self, entry: SourceEntry, source: Source) -> None:
        own = {self._name(sink): self._open_sink(sink, entry.name) for sink in self.config.sinks if sink.per_source}
        self._own[entry.name] = self._fan_out(own)
        self._entries[entry.name] = entry
        self.runner.add(entry.name, source, outputs=[self._own[entry.name]], label=entry.name)

    def _ended(self, feed: Feed) -> None:
        if feed.report().results:
            self.delivered.add(feed.name)
        own = self._own.pop(feed.name, None)
        if own is not None:
            own.close()

    def _ticked(self, reports: Sequence[FeedReport]) -> None:
        if self._wants_reload.is_set():
            self._wants_reload.clear()
            self._reload()
        health = self.health()
        if self.notifier.connected:
            if health.ready and not self._told_ready:
                self.notifier.ready(health.line)
                self._told_ready = True
            if health.alive:
                self.notifier.alive(health.line)
            else:
                self.notifier.status(health.line)
        if self.on_tick is not None:
            self.on_tick(reports, health, {**self.outputs.troubles, **self.outputs.failed})
        failed = dict(self.outputs.failed)
        if failed and set(failed) >= set(self.outputs.sinks):
            raise OutputLost("; ".join(failed.values()))

    def _reload(self) -> None:
        """A configuration that cannot be used changes nothing; a source or sink that cannot be opened is left out."""
        if self._reread is None:
            return
        self.notifier.reloading()
        try:
            new = self._reread()
        except AUNetError as error:
            log.error("the configuration stays as it was: %s", error)
            self.notifier.ready()
            return
        old, self.config = self.config, new
        for name in ("detector", "serve", "token", "notice", "duration_s", "events"):
            if getattr(old, name) != getattr(new, name):
                log.warning("the configuration's %s changed: that takes a restart", name)
        self._try("thresholds", lambda: self.runner.use_thresholds(new.thresholds))
        self._reload_sinks(old, new)
        self._reload_sources(new)
        log.info("the configuration was read again")
        self.notifier.ready()

    def _reload_sinks(self, old: LiveConfig, new: LiveConfig) -> None:
        gone = [entry for entry in old.sinks if entry not in new.sinks]
        come = [entry for entry in new.sinks if entry not in old.sinks]
        for entry in gone:
            for fan_out, _ in self._places(entry):
                self._try(f"sink {self._name(entry)}", partial(fan_out.remove, self._name(entry)))
        for entry in come:
            for fan_out, source in self._places(entry):
                self._try(f"sink {self._name(entry)}", partial(self._add_sink, entry, fan_out, source))

    def _places(self, entry: SinkEntry) -> list[tuple[FanOut, str | None]]:
        """Where a sink stands: beside all sources, or once beside each."""
        return [(own, name) for name, own in self._own.items()] if entry.per_source else [(self.outputs, None)]

    def _add_sink(self, entry: SinkEntry, fan_out: FanOut, source: str | None) -> None:
        fan_out.add(self._name(entry), self._open_sink(entry, source))

    def _reload_sources(self, new: LiveConfig) -> None:
        wanted = {entry.name: entry for entry in new.sources}
        for name in [name for name, entry in self._entries.items() if wanted.get(name) != entry]:
            del self._entries[name]
            if name in self.runner.feeds:
                self._try(f"source {name}", partial(self.runner.remove, name))
        for name, entry in wanted.items():
            if name not in self._entries:
                self._try(f"source {name}", partial(self._open_and_add, entry))

    def _open_and_add(self, entry: SourceEntry) -> None:
        source = open_source(entry.uri, entry.options)
        try:
            self._add(entry, source)
        except BaseException:
            source.close()
            raise

    @staticmethod
    def _try(what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except AUNetError as error:
            log.error("%s: %s", what, error)


def _file_name(source: str) -> str:
    """A source's name as it can stand in a path or a topic."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in source).strip("._") or "source"


def _host_and_port(address: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT or :PORT (this machine alone)."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"serve: expected HOST:PORT, such as 127.0.0.1:8080, got {address!r}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
