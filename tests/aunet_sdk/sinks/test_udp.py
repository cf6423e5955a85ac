"""UDP over a real socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import jsonschema
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput, OutputLost
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import message_schema, status_message

from ..scripted import face, frame


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        yield receiver


def test_every_message_is_one_datagram(receiver: socket.socket) -> None:
    with open_sink(f"udp://127.0.0.1:{receiver.getsockname()[1]}", source="clip.mp4") as sink:
        sink.put(frame(3, face(), face(2)))
        sink.event(AUEvent(Phase.APEX, "AU12", 1, 0.2, 0.9, 0.1))
        sink.status(status_message("running", engine="onnxruntime"))
        messages = [json.loads(receiver.recv(65536)) for _ in range(3)]
    for message in messages:
        jsonschema.validate(message, message_schema())
    assert [message["type"] for message in messages] == ["frame", "event", "status"]
    assert messages[0]["frame"] == 3 and [f["id"] for f in messages[0]["faces"]] == [1, 2]
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(4))


def test_nobody_has_to_listen_and_a_receiver_may_come_later() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        receiver.close()
        with open_sink(f"udp://localhost:{port}") as sink:
            for index in range(5):
                sink.put(frame(index))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as later:
                later.bind(("127.0.0.1", port))
                later.settimeout(10)
                sink.put(frame(5))
                assert json.loads(later.recv(65536))["frame"] == 5


def test_a_host_that_is_not_known_is_lost_for_now() -> None:
    with open_sink("udp://no-such-host.invalid:9000") as sink:
        assert sink.retries
        for _ in range(2):
            with pytest.raises(OutputLost, match=r"UDP: cannot send to no-such-host\.invalid:9000: "):
                sink.put(frame(0))


def test_a_crowd_that_no_datagram_takes_is_refused() -> None:
    with open_sink("udp://127.0.0.1:9") as sink:
        with pytest.raises(InvalidInput, match="65507 bytes"):
            sink.put(frame(0, *(face(i) for i in range(1, 200))))
