"""The socket and the server under the page, with their limits."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput

if TYPE_CHECKING:
    from uvicorn import Server

__all__ = ["listen", "make_server"]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InvalidInput."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"page: cannot listen at {host}: {error}; give another host") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it: one that takes nothing is ended by the system
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
        made.bind(place)
        made.listen(128)
    except OSError as error:
        made.close()
        raise InvalidInput(
            f"page: cannot listen at {host}:{port}: {error.strerror or error}; give another port"
        ) from error
    return made


def make_server(app: Any) -> Server:
    """The server of an ASGI application; its `run` blocks."""
    from uvicorn import Config, Server

    return Server(
        Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,  # addresses may hold the token
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=4096,
            ws_max_queue=16,
            ws_per_message_deflate=False,
            http="h11",
            h11_max_incomplete_event_size=16 * 1024,
            limit_concurrency=256,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
            lifespan="on",
        )
    )
