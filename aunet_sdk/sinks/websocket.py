"""WebSocket: a server whose clients all get every message "aunet/1", by the library websockets."""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import AUNetError, InvalidInput
from .address import Address
from .base import MessageSink
from .extras import load_extra
from .message import encode

__all__ = ["WebSocketSink"]

MOST_WAITING = 64
"""messages that wait for a client that does not read; the oldest frame among them goes when another comes"""
MOST_BYTES = 1024
"""of what a client says: nothing is expected"""
END_S = 1.0
_silent = logging.getLogger(__name__ + ".library")  # requests, which hold tokens, are none of our log
_silent.setLevel(logging.CRITICAL + 1)


class _Client:
    """What waits for one client."""

    def __init__(self) -> None:
        self.queue: deque[tuple[str, bool]] = deque()
        self.change = asyncio.Event()
        self.gone = False

    def add(self, text: str, is_frame: bool) -> int:
        """Returns how many messages had to go."""
        lost = len(self.queue) >= MOST_WAITING
        if lost:
            del self.queue[next((i for i, (_, frame) in enumerate(self.queue) if frame), 0)]
        self.queue.append((text, is_frame))
        self.change.set()
        return int(lost)


class WebSocketSink(MessageSink):
    """Serves ws://HOST:PORT. Clients only listen: one that says anything is sent away.

    Args:
        host, port: where it listens; the port 0 is any that is free, see the attribute `port`.
        source: see `MessageSink`.
        token: what clients have to show, as `?token=...` or in the header `Authorization: Bearer ...`. An address
            that other machines reach needs one.
        origins: web pages that may connect, such as "http://localhost:3000"; programs that are no browsers may always.
        most_clients: who comes on top is sent away.

    A client that is slow, or never reads, loses the oldest frames, counted in `left_out` over all clients, and holds up
    nobody; who does not answer for 40 s is sent away.

    Raises InvalidInput where it cannot listen; BackendUnavailable where websockets is missing.
    """

    def __init__(
        self,
        host: str,
        port: int,
        source: str = "",
        *,
        token: str = "",
        origins: Sequence[str] = (),
        most_clients: int = 16,
    ) -> None:
        super().__init__(source)
        self._library = load_extra("websockets.asyncio.server", "WebSocket", 'pip install "aunet_sdk[live]"')
        if not token and not Address("ws", host, port).is_loopback:
            raise InvalidInput(f"WebSocket: expected a token for {host}, which other machines reach; add ?token=...")
        self.left_out = 0
        self._token = token.encode("utf-8", "replace")
        self._origins = [None, *origins]
        self._most_clients = most_clients
        self._clients: set[_Client] = set()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._server: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="aunet-websocket", daemon=True)
        self._thread.start()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop).result()
        except (OSError, UnicodeError) as error:
            self._stop_loop()
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"WebSocket: cannot listen at {host}:{port}: {reason}; give another address") from error
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def send(self, message: Mapping[str, Any]) -> None:
        if self._closed:
            raise AUNetError("WebSocket: this sink is closed; make a new one")
        if self._clients:
            self._loop.call_soon_threadsafe(self._deliver, encode(message), message["type"] == "frame")

    def close(self) -> None:
        """Gives the clients a second to take what waits, and ends. It may be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10 * END_S)
        except TimeoutError:
            pass
        self._stop_loop()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)
        if not self._thread.is_alive():
            self._loop.close()

    # In the loop's thread

    async def _listen(self, host: str, port: int) -> Any:
        return await self._library.serve(
            self._serve,
            host,
            port,
            origins=self._origins,
            process_request=self._check,
            compression=None,
            max_size=MOST_BYTES,
            max_queue=1,
            close_timeout=END_S,
            logger=_silent,
        )

    def _check(self, connection: Any, request: Any) -> Any:
        """None, or a response that sends the client away."""
        if self._token:
            shown = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
            shown = shown or request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(shown.encode("utf-8", "replace"), self._token):
                return connection.respond(HTTPStatus.UNAUTHORIZED, "expected the token\n")
        if len(self._clients) >= self._most_clients:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return None

    async def _serve(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        client = _Client()
        self._clients.add(client)
        listener = asyncio.create_task(self._listen_to(connection, client))
        try:
            while not client.gone:
                while client.queue and not client.gone:
                    await connection.send(client.queue.popleft()[0])
                client.change.clear()
                await client.change.wait()
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            listener.cancel()

    async def _listen_to(self, connection: Any, client: _Client) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await connection.recv()
            await connection.close(1008, "this server only sends")
        except ConnectionClosed:
            pass
        finally:
            client.gone = True
            client.change.set()

    def _deliver(self, text: str, is_frame: bool) -> None:
        for client in self._clients:
            self.left_out += client.add(text, is_frame)

    async def _end(self) -> None:
        until_s = time.monotonic() + END_S
        while any(client.queue for client in self._clients) and time.monotonic() < until_s:
            await asyncio.sleep(0.01)
        self._server.close()
        await self._server.wait_closed()
