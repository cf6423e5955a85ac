"""The viewers of the page: what waits for each, and how slow ones lose pictures first and never hold up others."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .access import Rate

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Hub", "Viewer"]

log = logging.getLogger(__name__)

MOST_WAITING = 256
"""messages before one viewer: some eight seconds of frames; then the oldest frame goes"""
MOST_PICTURES = 2
"""on their way to one viewer; the next one is sent when it says that it has shown one"""
SEND_S = 15.0
"""a viewer that takes nothing for so long is let go"""
MOST_CHARACTERS = 2048
"""of a message from a viewer"""


class Viewer:
    """One open page. All methods run in the server's event loop."""

    def __init__(self, socket: WebSocket, source: int, changed: Callable[[], None]) -> None:
        self.source = source
        self.pictures = True
        """whether it wants to see any: a page in a hidden tab does not"""
        self.left_out = 0
        """frames that it did not get because it takes them too slowly"""
        self._socket, self._changed = socket, changed
        self._waiting: deque[tuple[str, bool]] = deque()
        self._picture: bytes | None = None
        self._credit = MOST_PICTURES
        self._wake = asyncio.Event()
        self._answers: set[asyncio.Future[None]] = set()
        self._messages = Rate(per_s=90, burst=180)
        self._commands = Rate(per_s=2, burst=8)

    @property
    def wants_picture(self) -> bool:
        """Whether a picture would go out at once."""
        return self.pictures and self._credit > 0 and self._picture is None

    def offer(self, text: str, *, droppable: bool = False) -> None:
        """Queue a message. Where too many wait the oldest frame goes: events and replies stay as long as they can."""
        if len(self._waiting) >= MOST_WAITING:
            self.left_out += 1
            at = next((i for i, (_, may_go) in enumerate(self._waiting) if may_go), 0)
            del self._waiting[at]
        self._waiting.append((text, droppable))
        self._wake.set()

    def offer_picture(self, picture: bytes) -> None:
        """The newest picture; an older one that still waits goes."""
        if self.pictures:
            self._picture = picture
            self._wake.set()
            self._changed()

    def shown(self) -> None:
        """It has shown a picture."""
        self._credit = min(MOST_PICTURES, self._credit + 1)
        self._wake.set()
        self._changed()

    def watch(self, source: int, pictures: bool) -> None:
        """What it looks at from now on."""
        self.source, self.pictures, self._picture = source, pictures, None
        self._changed()

    async def send(self) -> None:
        """Sends what waits, texts before pictures, until the viewer goes or takes nothing any more."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or (self._picture is not None and self._credit > 0):
                if self._waiting:
                    await asyncio.wait_for(self._socket.send_text(self._waiting.popleft()[0]), SEND_S)
                    continue
                picture, self._picture = self._picture, None
                self._credit -= 1
                assert picture is not None  # the loop's condition
                await asyncio.wait_for(self._socket.send_bytes(picture), SEND_S)
                self._changed()

    async def receive(self, answer: Callable[[Viewer, dict[str, Any]], Awaitable[None]]) -> None:
        """Reads messages until the viewer goes. What is no message closes the connection; so does a flood."""
        while True:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            text = received.get("text")
            reason = None
            if not self._messages.allows(""):
                reason = "too many messages"
            elif text is None or len(text) > MOST_CHARACTERS:
                reason = f"expected a text of at most {MOST_CHARACTERS} characters"
            else:
                message = _parsed(text)
                if message is None:
                    reason = "expected a JSON object with a type"
                elif message["type"] == "shown":
                    self.shown()
                elif message["type"] == "command" and not self._commands.allows(""):
                    self.offer(json.dumps({"type": "reply", "id": _id(message), "error": "too many commands; wait"}))
                else:  # not awaited: a command may take a while, and pictures go on meanwhile
                    task = asyncio.ensure_future(answer(self, message))
                    self._answers.add(task)
                    task.add_done_callback(self._answers.discard)
            if reason is not None:
                await self._socket.close(1008, reason)
                return


class Hub:
    """All viewers. Its methods run in the server's event loop; `wanted` may be read from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._viewers: set[Viewer] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self.wanted: frozenset[int] = frozenset()
        """the sources of which a picture would go out at once"""
        self.watched: frozenset[int] = frozenset()
        """the sources that somebody looks at"""
        self.left_out = 0
        """frames that viewers who have gone did not get"""

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def all_left_out(self) -> int:
        """Frames that viewers did not get so far."""
        return self.left_out + sum(viewer.left_out for viewer in list(self._viewers))

    def publish(self, text: str, source: int | None = None, *, droppable: bool = False) -> None:
        """To everybody who looks at this source; None: to everybody."""
        for viewer in self._viewers:
            if source is None or viewer.source == source:
                viewer.offer(text, droppable=droppable)

    def publish_picture(self, source: int, picture: bytes) -> None:
        """The newest picture of a source."""
        for viewer in self._viewers:
            if viewer.source == source:
                viewer.offer_picture(picture)

    def end(self) -> None:
        """Let all viewers go."""
        for task in self._tasks:
            task.cancel()

    async def serve(
        self,
        socket: WebSocket,
        greeting: Callable[[], list[str]],
        answer: Callable[[Viewer, dict[str, Any]], Awaitable[None]],
    ) -> None:
        """One viewer, from its connection to its end."""
        if len(self._viewers) >= self._most:
            await socket.accept()
            await socket.close(1013, "too many viewers")
            return
        await socket.accept()
        viewer = Viewer(socket, 0, self._count)
        for text in greeting():
            viewer.offer(text)
        self._viewers.add(viewer)
        self._count()
        tasks = [asyncio.ensure_future(viewer.send()), asyncio.ensure_future(viewer.receive(answer))]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers.discard(viewer)
            self.left_out += viewer.left_out
            self._count()
            self._tasks.difference_update(tasks)
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                gone = (WebSocketDisconnect, asyncio.TimeoutError, RuntimeError, OSError)
                if isinstance(ended, Exception) and not isinstance(ended, gone):
                    log.warning("page: a viewer's connection ended: %r", ended)

    def _count(self) -> None:
        self.wanted = frozenset(viewer.source for viewer in self._viewers if viewer.wants_picture)
        self.watched = frozenset(viewer.source for viewer in self._viewers)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    good = isinstance(message, dict) and isinstance(message.get("type"), str)
    return message if good else None


def _id(message: dict[str, Any]) -> int | None:
    value = message.get("id")
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None
