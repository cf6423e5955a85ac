"""WebSocket with real clients: listeners, one that never reads, one that talks, strangers."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable

import jsonschema
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import message_schema, status_message

from ..scripted import face, frame

client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


def test_every_client_gets_every_message_up_to_the_end() -> None:
    with open_sink("ws://127.0.0.1:0", source="clip.mp4") as sink:
        sink.put(frame(99))
        url = f"ws://127.0.0.1:{sink.port}"
        with client.connect(url) as first, client.connect(url) as second:
            until(lambda: sink.clients == 2, "both are there")
            for index in range(10):
                sink.put(frame(index, face()))
            sink.event(AUEvent(Phase.ONSET, "AU12", 1, 0.2, 0.9, 0.0))
            sink.status(status_message("closed"))
            ending = threading.Thread(target=sink.close)
            ending.start()
            for connection in (first, second):
                messages = [json.loads(text) for text in connection]
                for message in messages:
                    jsonschema.validate(message, message_schema())
                assert [message.get("frame") for message in messages] == [*range(10), None, None]
            ending.join()
    assert sink.left_out == 0 and sink.clients == 0
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(1))
    with pytest.raises(OSError):
        client.connect(url)


def test_a_client_that_never_reads_loses_frames_and_holds_up_nobody() -> None:
    with open_sink("ws://127.0.0.1:0") as sink:
        with socket.socket() as mute:
            mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            mute.connect(("127.0.0.1", sink.port))
            mute.sendall(
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{sink.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            until(lambda: sink.clients == 1, "the mute one is there")
            with client.connect(f"ws://127.0.0.1:{sink.port}") as reader:
                until(lambda: sink.clients == 2, "the reader is there")
                crowd = [face(i) for i in range(1, 21)]
                index = 0
                while sink.left_out < 50:
                    sink.put(frame(index, *crowd))
                    assert json.loads(reader.recv(timeout=30))["frame"] == index, "the reader misses nothing"
                    index += 1
                    assert index < 5000
        until(lambda: sink.clients == 0, "both have gone")


def test_who_talks_is_sent_away() -> None:
    with open_sink("ws://127.0.0.1:0") as sink:
        for words in ("hello", "x" * 100_000, b"\x00\xff"):
            with client.connect(f"ws://127.0.0.1:{sink.port}") as connection:
                connection.send(words)
                with pytest.raises(ConnectionClosed) as error:
                    connection.recv(timeout=30)
            assert error.value.rcvd.code == (1009 if len(words) > 1024 else 1008)
        with socket.create_connection(("127.0.0.1", sink.port)) as raw:
            raw.sendall(b"\x00garbage\r\n\r\n" * 100)
            raw.settimeout(30)
            raw.recv(100)
        until(lambda: sink.clients == 0, "all have gone")
        with client.connect(f"ws://127.0.0.1:{sink.port}") as connection:
            until(lambda: sink.clients == 1, "it goes on")
            sink.put(frame(3))
            assert json.loads(connection.recv(timeout=30))["frame"] == 3


def status(url: str, **options: object) -> int:
    try:
        with client.connect(url, **options):
            return 101
    except InvalidStatus as error:
        return int(error.response.status_code)


def test_tokens_origins_and_a_limit_of_clients(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aunet_sdk")
    uri = "ws://127.0.0.1:0?token=s3cret&origins=http://localhost:3000&most_clients=1"
    with open_sink(uri) as sink:
        url = f"ws://127.0.0.1:{sink.port}"
        assert status(url) == 401 and status(f"{url}?token=s3cre") == 401
        assert status(f"{url}?token=s3cret", origin="http://evil.example") == 403
        assert status(f"{url}?token=s3cret", origin="http://localhost:3000") == 101
        until(lambda: sink.clients == 0, "gone")
        with client.connect(url, additional_headers={"Authorization": "Bearer s3cret"}):
            until(lambda: sink.clients == 1, "there")
            assert status(f"{url}?token=s3cret") == 503
    assert "s3cret" not in caplog.text
    with open_sink("ws://127.0.0.1:0") as sink:
        assert status(f"ws://127.0.0.1:{sink.port}", origin="http://evil.example") == 403


def test_where_it_cannot_listen() -> None:
    for host in ("0.0.0.0", "[::]", "192.0.2.1"):
        with pytest.raises(InvalidInput, match="token"):
            open_sink(f"ws://{host}:0")
    with open_sink("ws://127.0.0.1:0") as sink:
        with pytest.raises(InvalidInput, match=rf"cannot listen at 127\.0\.0\.1:{sink.port}"):
            open_sink(f"ws://127.0.0.1:{sink.port}")
    with pytest.raises(InvalidInput, match=r"cannot listen at 192\.0\.2\.1"):
        open_sink("ws://192.0.2.1:0?token=x")
