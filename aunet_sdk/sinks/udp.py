"""UDP: one message "aunet/1" a datagram. docs/messages.md has the messages."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ..errors import AUNetError, InvalidInput, OutputLost
from .base import MessageSink
from .message import encode

__all__ = ["DatagramSocket", "UdpSink"]

MOST_BYTES = 65_507
"""in one datagram of IPv4"""
SEND_S = 1.0


class DatagramSocket:
    """Datagrams to one host: a name or address, also of a broadcast or a multicast group, whose packets reach `ttl`
    networks far. The name is looked up with the first datagram, and again after an error, so that it need not be known
    yet. `send` raises OutputLost where no way leads there at the moment, InvalidInput for too many bytes. That nobody
    listens there is no error.
    """

    def __init__(self, host: str, port: int, what: str, ttl: int = 1) -> None:
        if not 0 <= ttl <= 255:
            raise InvalidInput(f"{what}: expected a ttl from 0 to 255, got {ttl}")
        self._host, self._port, self._what, self._ttl = host, port, what, ttl
        self._socket: socket.socket | None = None
        self._to: Any = None
        self._closed = False

    def send(self, data: bytes) -> None:
        if self._closed:
            raise AUNetError(f"{self._what}: this sink is closed; make a new one")
        if len(data) > MOST_BYTES:
            raise InvalidInput(f"{self._what}: expected at most {MOST_BYTES} bytes in a datagram, got {len(data)}")
        try:
            self._opened().sendto(data, self._to)
        except (OSError, UnicodeError) as error:
            self._drop_socket()
            reason = getattr(error, "strerror", None) or error
            raise OutputLost(f"{self._what}: cannot send to {self._host}:{self._port}: {reason}") from error

    def _opened(self) -> socket.socket:
        if self._socket is None:
            family, kind, protocol, _, self._to = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.settimeout(SEND_S)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self._ttl)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._ttl)
        return self._socket

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """It may be called twice."""
        self._closed = True
        self._drop_socket()


class UdpSink(MessageSink):
    """Sends every message as one datagram to host:port; see `DatagramSocket` for hosts and errors, `MessageSink` for
    `source`. A frame with some 60 people and 15 AUs is more than a datagram takes (InvalidInput)."""

    retries = True

    def __init__(self, host: str, port: int, source: str = "", *, ttl: int = 1) -> None:
        super().__init__(source)
        self._socket = DatagramSocket(host, port, "UDP", ttl)

    def send(self, message: Mapping[str, Any]) -> None:
        self._socket.send(encode(message).encode("ascii"))

    def close(self) -> None:
        """It may be called twice."""
        self._socket.close()
