"""PageServer: the page as a sink. It listens in a thread of its own and holds up nobody."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..._util.uris import without_credentials
from ...errors import AUNetError, InvalidInput
from ...sinks import Sink
from ...sinks.extras import load_extra
from ...sinks.message import EventLike, encode, event_message
from .access import Access
from .notice import Notice
from .pictures import PictureMaker
from .recent import SessionTable
from .serving import listen, make_server
from .views import SourceView

if TYPE_CHECKING:
    import asyncio

    import numpy as np
    from uvicorn import Server

    from ...results import FrameResult

__all__ = ["PageServer"]

log = logging.getLogger(__name__)

Commands = Callable[[str, dict[str, Any]], Mapping[str, Any]]
START_S = 10.0
MOST_SOURCES = 32
READY_S = 10.0
"""a source of which nothing came for so long is not ready"""


class PageServer(Sink):
    """Serves the page (docs/page.md) from its construction until `close`.

    Args:
        host: where it listens. Beyond this machine (anything but localhost, 127.0.0.1, ::1) a token is wanted.
        port: 1 to 65535; 0: any that is free, see `port` and `url`.
        token: at least 8 characters, asked for by everything but `/notice`, `/healthz` and `/readyz`.
        commands: called with ("pause" | "resume", {}) and ("calibrate", {"face": id or None, "source": name}), in a
            thread of the server; an AUNetError that it raises is shown to the one who asked. None: the page has no
            such buttons and freezes its own picture only.
        health: what `/healthz` and `/readyz` answer: a mapping with `alive`, `ready`, `reason`, `engine`. None: alive
            while it serves; ready while results come.
        sources: names, where several sources share this sink: those that `put` gets as `file`.
        au_names, thresholds: of the detector; None: those of the first result with a face.
        notice: what the operator has to say to the people in front of the camera.
        origins: more origins from which browsers may connect, for a proxy.
        picture_px, quality: the longer side and the JPEG quality (1 to 100) of pictures.
        most_viewers: open pages at once.
        session_bytes: what the table of the session may take in memory; its oldest rows go then.

    No picture is stored: the newest one is in memory until it is sent. `put` takes a message apart and hands a
    reference to the picture on; it waits for nobody.

    Raises InvalidInput for a missing token, or where it cannot listen; BackendUnavailable where the extra `live` is
    not installed.
    """

    takes_images = True

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        commands: Commands | None = None,
        *,
        health: Callable[[], Mapping[str, Any]] | None = None,
        sources: Sequence[str] = (),
        au_names: Sequence[str] = (),
        thresholds: Mapping[str, float] | None = None,
        notice: Notice | None = None,
        origins: Sequence[str] = (),
        picture_px: int = 960,
        quality: int = 78,
        most_viewers: int = 16,
        session_bytes: int = 64 * 2**20,
    ) -> None:
        for name, value, least, most in (
            ("port", port, 0, 65535),
            ("picture_px", picture_px, 16, 8192),
            ("quality", quality, 1, 100),
            ("most_viewers", most_viewers, 1, 1000),
            ("session_bytes", session_bytes, 2**20, 2**40),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InvalidInput(f"page: expected {name} from {least} to {most}, got {value!r}")
        self.access = Access(host, token, origins)
        self.commands, self.notice = commands, notice or Notice()
        self._health = health
        for module in ("starlette", "uvicorn", "websockets", "prometheus_client"):
            load_extra(module, "page", 'pip install "aunet_sdk[live]"')
        from .app import make_app
        from .hub import Hub

        self._lock = threading.Lock()
        self._views = [SourceView(without_credentials(name), i) for i, name in enumerate(sources or ("",))]
        self._several = len(self._views) > 1
        self._au_names, self._thresholds = tuple(au_names), dict(thresholds or {})
        self._session_bytes = session_bytes
        self.session: SessionTable | None = None
        """the table of the session; None before the first result with a face"""
        self.hub = Hub(most_viewers)
        self._socket = listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._closed = False
        self._server: Server = make_server(make_app(self))
        self._thread = threading.Thread(target=self._run, name="aunet-page", daemon=True)
        self._thread.start()
        self.pictures = PictureMaker(self._deliver_picture, picture_px, quality)
        if not self._started.wait(START_S):
            self.close()
            raise AUNetError(f"page: the server did not start within {START_S:g} s")

    @property
    def left_out(self) -> int:  # type: ignore[override]
        """Frames that slow viewers did not get; the others got them."""
        return self.hub.all_left_out

    @property
    def views(self) -> tuple[SourceView, ...]:
        """What is known of every source."""
        with self._lock:
            return tuple(self._views)

    # From the pipeline, in any thread

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        if self._closed:
            raise AUNetError("page: this sink is closed; make a new one")
        view = self._view_of(file)
        if result.au_names and not self._au_names:
            self._learn(result)
        view.count(result)
        if not result.provisional and result.faces:
            self._keep(result, view)
        if view.number in self.hub.watched:
            self._publish(view.frame_text(result), view, droppable=True)
        if image is not None and view.number in self.hub.wanted and view.needs_picture(result):
            self.pictures.offer(image, result.index, view.number)

    def event(self, event: EventLike) -> None:
        message = event_message(event)
        if self._several and "source" not in message:  # nobody knows whose it is
            return
        view = self._view_of(message.get("source"))
        view.minute.event(message)
        self._publish(encode(message), view)

    def status(self, status: dict[str, Any]) -> None:
        view = self._view_of(status.get("source"), add=True)
        view.status = dict(status)
        self._publish(self._status_text(view), view)

    def _view_of(self, name: str | None, *, add: bool = False) -> SourceView:
        """The source of this name; where there is one alone, it has every name, as for a folder's pictures."""
        with self._lock:
            shown = without_credentials(name) if name else ""
            for view in self._views:
                if view.name == shown:
                    return view
            if add and shown and self._several and len(self._views) < MOST_SOURCES:
                self._views.append(SourceView(shown, len(self._views)))
                return self._views[-1]
            return self._views[0]

    def _learn(self, result: FrameResult) -> None:
        """The AUs and thresholds, where nobody named them."""
        self._au_names = result.au_names
        if result.faces and result.faces[0].thresholds is not None:
            limits = zip(result.au_names, result.faces[0].thresholds.tolist(), strict=True)
            self._thresholds = {name: limit for name, limit in limits if limit == limit}
        self._publish(self.hello_text(), None)

    def _keep(self, result: FrameResult, view: SourceView) -> None:
        with self._lock:
            if self.session is None:
                self.session = SessionTable(self._au_names, self._session_bytes, with_file=self._several)
        self.session.put(result, view.name)

    def _publish(self, text: str, view: SourceView | None, *, droppable: bool = False) -> None:
        number = None if view is None else view.number
        self._in_loop(lambda: self.hub.publish(text, number, droppable=droppable))

    def _deliver_picture(self, source: int, picture: bytes) -> None:
        self._in_loop(lambda: self.hub.publish_picture(source, picture))

    def _in_loop(self, act: Callable[[], object]) -> None:
        if self._loop is not None and not self._closed:
            try:
                self._loop.call_soon_threadsafe(act)
            except RuntimeError:  # the loop was closed in this moment
                log.debug("page: the server has ended")

    # For viewers

    def hello_text(self) -> str:
        """The first message to every viewer: what there is."""
        from ...view.palette import facs_label

        aus = [
            {"name": name, "title": facs_label(name)[len(name) + 1 :], "threshold": self._thresholds.get(name)}
            for name in self._au_names
        ]
        sources = [{"number": view.number, "name": view.name} for view in self.views]
        return json.dumps({"type": "hello", "aus": aus, "sources": sources, "commands": self.commands is not None})

    def greeting(self, number: int = 0) -> list[str]:
        """What a viewer of this source gets first."""
        view = self.views[number]
        texts = [self.hello_text(), encode(view.minute.message())]
        return [*texts, self._status_text(view)] if view.status is not None else texts

    def _status_text(self, view: SourceView) -> str:
        rows, gone = (0, 0) if self.session is None else (self.session.rows, self.session.rows_gone)
        page = {"viewers": self.hub.viewers, "rows": rows, "rows_gone": gone, "left_out": self.hub.all_left_out}
        return encode({**(view.status or {}), "page": page})

    def health(self) -> dict[str, Any]:
        """What `/healthz` and `/readyz` answer."""
        if self._health is not None:
            return dict(self._health())
        now_s = time.monotonic()
        statuses = [view.status for view in self.views if view.status is not None]
        coming = any(view.last_s is not None and now_s - view.last_s < READY_S for view in self.views)
        ready = coming or any(status.get("paused") for status in statuses)
        reason = next((f"{s['state']}: {s['reason']}" for s in statuses if s.get("reason")), "no results come")
        return {
            "alive": True,
            "ready": ready,
            "reason": None if ready else reason,
            "engine": next((status["engine"] for status in statuses if status.get("engine")), None),
            "fps": self.views[0].fps,
        }

    # The server's thread

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception as error:
            self.trouble = f"page: the server ended: {error}"
            log.error("%s", self.trouble)
        finally:
            self._socket.close()

    def started_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server's loop runs; its application says so."""
        self._loop = loop
        self._started.set()

    def _end_in_loop(self) -> None:
        """Viewers are told; what is still open after a second is cut."""
        self.hub.end()
        if self._loop is not None:
            self._loop.call_later(1.0, self.ended_in_loop)

    def ended_in_loop(self) -> None:
        """The last that the server's loop does: connections of those who take nothing would stay open after it."""
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    def close(self) -> None:
        """Ends every connection and the server. It may be called twice."""
        if self._closed:
            return
        self._in_loop(self._end_in_loop)
        self._closed = True
        self._server.should_exit = True
        if hasattr(self, "pictures"):
            self.pictures.close()
        self._thread.join(START_S)
