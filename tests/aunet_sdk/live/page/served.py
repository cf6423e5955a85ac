"""A page of our own on a free port, and plain clients for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from aunet_sdk.live.page import PageServer

IMAGE = np.full((240, 320, 3), 90, np.uint8)
TOKEN = "a long enough token"


class Answer:
    """What came back on one HTTP request."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read().decode("utf-8")


def ask(
    page: PageServer, path: str, method: str = "GET", body: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


@contextmanager
def viewer(page: PageServer, **options: Any) -> Iterator[ClientConnection]:
    """An open page."""
    with connect(f"ws://127.0.0.1:{page.port}/live", proxy=None, close_timeout=1, **options) as socket:
        yield socket


def message_of(socket: ClientConnection, kind: str, timeout_s: float = 10.0) -> dict[str, Any]:
    """The next message of this type."""
    while True:
        data = socket.recv(timeout_s)
        if isinstance(data, str):
            message: dict[str, Any] = json.loads(data)
            if message["type"] == kind:
                return message


def picture_of(socket: ClientConnection, timeout_s: float = 10.0) -> bytes:
    """The next picture, with its head."""
    while True:
        data = socket.recv(timeout_s)
        if isinstance(data, bytes):
            return data
