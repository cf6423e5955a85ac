"""OSC, read back by python-osc from a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from aunet_sdk.errors import InvalidInput
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.results import FrameResult
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import status_message

from ..scripted import face, frame

packets = pytest.importorskip("pythonosc.osc_packet", reason="python-osc is not installed")


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        yield receiver


def read(receiver: socket.socket) -> dict[str, list]:
    """Values by address, of one datagram."""
    packet = packets.OscPacket(receiver.recv(65536))
    return {timed.message.address: list(timed.message.params) for timed in packet.messages}


def test_every_number_has_its_address(receiver: socket.socket) -> None:
    with open_sink(f"osc://127.0.0.1:{receiver.getsockname()[1]}/stage") as sink:
        sink.put(frame(100, face(), face(3, probabilities=[float("nan")] * 15)))
        head, first, second = (read(receiver) for _ in range(3))
        assert head == {"/stage/frame": [100, 4.0, 2, 0]}
        assert first["/stage/face/1/box"] == [40, 30, 60, 80]
        assert first["/stage/face/1/pose"] == pytest.approx([1.5, -2.25, 3.0])
        assert first["/stage/face/1/score"] == pytest.approx([0.9])
        assert first["/stage/face/1/au/AU26"] == [pytest.approx(0.95), 1]
        assert first["/stage/face/1/au/AU1"] == [pytest.approx(0.05), 0]
        assert len(first) == 3 + 15 and set(second) == {f"/stage/face/3/{name}" for name in ("box", "pose", "score")}
        sink.event(AUEvent(Phase.OFFSET, "AU12", 1, 1.5, 0.75, 0.5))
        assert read(receiver) == {"/stage/event": ["offset", "AU12", 1, 1.5, 0.75, 0.5]}
        sink.status(status_message("lost", "no answer", fps=25))
        assert read(receiver) == {"/stage/status": ["lost", "no answer", ""], "/stage/fps": [25.0]}


def test_long_times_keep_their_digits(receiver: socket.socket) -> None:
    with open_sink(f"osc://127.0.0.1:{receiver.getsockname()[1]}") as sink:
        sink.put(FrameResult(1, 1_234_567.125, 320, 240))
        assert read(receiver) == {"/aunet/frame": [1, 1_234_567.125, 0, 0]}


@pytest.mark.parametrize("prefix", ["a b", "a*", "ä", "{x}"])
def test_a_prefix_that_is_no_address_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInput):
        open_sink(f"osc://127.0.0.1:9/{prefix}")
