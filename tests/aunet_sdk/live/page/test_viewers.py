"""Viewers: what they get, slow ones, and those that send garbage."""

from __future__ import annotations

import json
import socket as sockets
import threading
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aunet_sdk import InvalidInput
from aunet_sdk.live.page import PageServer, hub
from aunet_sdk.live.page.access import Rate
from aunet_sdk.live.page.pictures import HEAD, encode_picture
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks.message import message_schema, status_message

from ...scripted import face, frame
from .served import IMAGE, message_of, picture_of, viewer

exceptions = pytest.importorskip("websockets.exceptions")

EVENT = AUEvent(Phase.ONSET, "AU12", 1, 0.5, 0.9, 0.0)


@pytest.fixture
def page() -> Iterator[PageServer]:
    with PageServer(port=0) as made:
        yield made


def watched(page: PageServer) -> None:
    """Wait until the server knows its viewer."""
    until_s = time.monotonic() + 10
    while not page.hub.watched and time.monotonic() < until_s:
        time.sleep(0.005)
    assert page.hub.watched


def test_every_message_follows_the_schema(page: PageServer) -> None:
    with viewer(page) as socket:
        assert message_of(socket, "hello")["aus"] == []
        watched(page)
        page.put(frame(0, face(1), face(2, box=(150.0, 30.0, 60.0, 80.0))), IMAGE)
        page.event(EVENT)
        page.status(status_message("running", None, engine="onnxruntime", fps=29.9))
        hello = message_of(socket, "hello")  # once more, now that the AUs are known
        assert [au["name"] for au in hello["aus"]][:3] == ["AU1", "AU2", "AU4"]
        assert hello["aus"][7] == {"name": "AU12", "title": "Lip corner puller", "threshold": None}
        schema = message_schema()
        sent = message_of(socket, "frame")
        jsonschema.validate(sent, schema)
        assert (sent["width"], sent["height"]) == (320, 240)
        assert len(sent["faces"]) == 2 and len(sent["faces"][0]["points"]) == 136
        jsonschema.validate(message_of(socket, "event"), schema)
        status = message_of(socket, "status")
        jsonschema.validate(status, schema)
        assert status["page"] == {"viewers": 1, "rows": 2, "rows_gone": 0, "left_out": 0}


def test_pictures_belong_to_a_frame_and_keep_their_shape(page: PageServer) -> None:
    import cv2

    with viewer(page) as socket:
        watched(page)
        page.put(frame(7, face()), np.full((1080, 1920, 3), 120, np.uint8))
        data = picture_of(socket)
    number, source, _ = HEAD.unpack_from(data)
    assert (number, source) == (7, 0)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8, offset=HEAD.size), cv2.IMREAD_COLOR)
    assert picture.shape == (540, 960, 3)


@settings(max_examples=20)
@given(st.integers(1, 2000), st.integers(1, 2000))
def test_a_picture_of_any_shape_can_be_sent(width: int, height: int) -> None:
    data = encode_picture(np.zeros((height, width, 3), np.uint8), 2**32 + 5, 3, 64, 50)
    assert HEAD.unpack_from(data) == (5, 3, 0) and data[HEAD.size : HEAD.size + 2] == b"\xff\xd8"


def test_a_picture_that_is_none_costs_itself_alone(page: PageServer, caplog: pytest.LogCaptureFixture) -> None:
    with viewer(page) as socket:
        watched(page)
        page.put(frame(0, face()), np.zeros((0, 0, 3), np.uint8))
        message_of(socket, "frame")
        until_s = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until_s:
            time.sleep(0.005)
        page.put(frame(1, face()), IMAGE)
        assert HEAD.unpack_from(picture_of(socket))[0] == 1
    assert "a picture was left out" in caplog.text


def test_no_picture_is_made_where_nobody_looks(page: PageServer) -> None:
    page.put(frame(0, face()), IMAGE)
    with viewer(page) as socket:
        watched(page)
        socket.send(json.dumps({"type": "watch", "pictures": False}))
        socket.send(json.dumps({"type": "command", "id": 1}))
        message_of(socket, "reply")  # what came before is done
        page.put(frame(1, face()), IMAGE)
        message_of(socket, "frame")
    assert page.pictures.made == 0


def test_a_viewer_that_shows_nothing_gets_all_data_and_two_pictures(page: PageServer) -> None:
    with viewer(page) as socket:
        watched(page)
        frames, pictures = set(), 0
        for index in range(60):
            page.put(frame(index, face()), IMAGE)
            while index not in frames:
                data = socket.recv(10)
                if isinstance(data, bytes):
                    pictures += 1
                elif (message := json.loads(data))["type"] == "frame":
                    frames.add(message["frame"])
        assert frames == set(range(60)) and pictures <= 2
        socket.send(json.dumps({"type": "shown", "frame": 0}))
        until_s = time.monotonic() + 10
        while not page.hub.wanted and time.monotonic() < until_s:
            time.sleep(0.005)
        page.put(frame(60, face()), IMAGE)
        assert HEAD.unpack_from(picture_of(socket))[0] in range(61)


def test_the_early_and_the_final_result_share_a_picture(page: PageServer) -> None:
    with viewer(page) as socket:
        watched(page)
        from dataclasses import replace

        early = replace(frame(0, face(provisional=True)), provisional=True)
        page.put(early, IMAGE)
        assert message_of(socket, "frame")["provisional"]
        page.put(frame(0, face()), IMAGE)
        assert not message_of(socket, "frame")["provisional"]
    assert page.pictures.made <= 1
    assert page.session is not None and page.session.rows == 1


def test_who_comes_later_sees_the_last_minute(page: PageServer) -> None:
    for index in range(0, 75 * 25, 5):
        page.put(frame(index, face(3), face(4)))
    page.event(EVENT)
    with viewer(page) as socket:
        history = message_of(socket, "history")
    times = history["faces"]["3"]["t"]
    assert set(history["faces"]) == {"3", "4"} and len(history["faces"]["3"]["p"][0]) == 15
    assert times == sorted(times) and 59 <= times[-1] - times[0] <= 60 and len(times) <= 601
    assert [event["au"] for event in history["events"]] == ["AU12"]


def deaf_viewer(page: PageServer) -> sockets.socket:
    """A viewer that connects and never reads."""
    deaf = sockets.create_connection(("127.0.0.1", page.port))
    deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    deaf.sendall(
        f"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}".encode()
    )
    return deaf


def test_a_page_that_never_reads_holds_up_nobody(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_WAITING", 16)
    deaf = deaf_viewer(page)
    watched(page)
    with viewer(page) as socket:
        until_s = time.monotonic() + 10
        while page.hub.viewers < 2 and time.monotonic() < until_s:
            time.sleep(0.005)
        got = set()
        crowd = [face(i, box=(10.0 * i, 10.0, 60.0, 80.0)) for i in range(1, 30)]
        for index in range(400):
            page.put(frame(index, *crowd), IMAGE)
            while index not in got:
                got.add(message_of(socket, "frame")["frame"])
            if page.left_out:  # of the deaf one, and counted
                break
        assert page.left_out and got == set(range(index + 1))
        assert page.hub.viewers == 2
    deaf.close()


def test_a_page_that_never_reads_is_let_go(
    page: PageServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "SEND_S", 0.2)
    deaf = deaf_viewer(page)
    watched(page)
    crowd = [face(i, box=(10.0 * i, 10.0, 60.0, 80.0)) for i in range(1, 30)]
    for index in range(3000):
        page.put(frame(index, *crowd), IMAGE)
        if not page.hub.viewers:
            break
    assert not page.hub.viewers
    page.close()  # though the connection still has what nobody read
    assert not caplog.records
    deaf.close()


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"type": 5}',
        "null",
        "NaN",
        "[" * 1500,
        b"\x00\x01",
        "x" * 3000,
        '{"type":"shown"' + " " * 2040,
    ],
)
def test_garbage_ends_the_connection_of_its_sender_alone(page: PageServer, garbage: str | bytes) -> None:
    with viewer(page) as good, viewer(page) as bad:
        message_of(good, "hello")
        bad.send(garbage)
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            while True:
                bad.recv(10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        page.put(frame(0, face()), IMAGE)
        assert message_of(good, "frame")["frame"] == 0


def test_a_message_that_is_too_long_for_the_server_ends_it(page: PageServer) -> None:
    with viewer(page) as bad, pytest.raises(exceptions.ConnectionClosed) as closed:
        bad.send("x" * 100_000)
        while True:
            bad.recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_flood_of_messages_ends_the_connection(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "Rate", lambda **_: Rate(per_s=1e-6, burst=50))
    with viewer(page) as bad, pytest.raises(exceptions.ConnectionClosed) as closed:
        for _ in range(60):
            bad.send('{"type":"shown","frame":1}')
        while True:
            bad.recv(10)
    assert closed.value.rcvd is not None and "too many" in closed.value.rcvd.reason


def test_too_many_viewers_are_told_so() -> None:
    with PageServer(port=0, most_viewers=2) as page, viewer(page) as one, viewer(page) as two:
        message_of(one, "hello")
        message_of(two, "hello")
        with viewer(page) as third, pytest.raises(exceptions.ConnectionClosed) as closed:
            third.recv(10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        one.close()
        until_s = time.monotonic() + 10
        while page.hub.viewers > 1 and time.monotonic() < until_s:
            time.sleep(0.005)
        with viewer(page) as again:
            message_of(again, "hello")


def asked(socket: Any, **message: Any) -> dict[str, Any]:
    socket.send(json.dumps({"type": "command", **message}))
    return message_of(socket, "reply")


def test_commands_are_carried_out_and_their_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "Rate", lambda **_: Rate(per_s=1e-6, burst=1000))
    calls: list[tuple[str, dict[str, Any]]] = []

    def commands(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        calls.append((name, arguments))
        if arguments.get("face") == 9:
            raise InvalidInput("calibrate: expected a face, got 9")
        return {"paused": name == "pause"}

    with PageServer(port=0, commands=commands) as page, viewer(page) as socket:
        assert message_of(socket, "hello")["commands"] is True
        assert asked(socket, id=1, name="pause") == {"type": "reply", "id": 1, "result": {"paused": True}}
        assert asked(socket, id=2, name="calibrate", arguments={"face": 3, "source": "a"})["result"] == {
            "paused": False
        }
        assert "got 9" in asked(socket, id=3, name="calibrate", arguments={"face": 9})["error"]
        assert "expected a command" in asked(socket, id=4, name="shutdown")["error"]
        for wrong in ({"face": "x"}, {"face": -1}, {"face": True}, {"path": "/etc"}, [1], {"source": 5}):
            assert "expected arguments" in asked(socket, id=5, name="calibrate", arguments=wrong)["error"]
    assert calls == [("pause", {}), ("calibrate", {"face": 3, "source": "a"}), ("calibrate", {"face": 9})]


def test_a_command_that_hangs_holds_up_no_picture() -> None:
    free = threading.Event()

    def commands(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        free.wait(20)
        return {}

    with PageServer(port=0, commands=commands) as page, viewer(page) as socket:
        socket.send('{"type":"command","id":1,"name":"calibrate"}')
        watched(page)
        for index in range(10):
            page.put(frame(index, face()), IMAGE)
            picture_of(socket)
            socket.send(json.dumps({"type": "shown", "frame": index}))
            until_s = time.monotonic() + 10
            while not page.hub.wanted and time.monotonic() < until_s:
                time.sleep(0.002)
        free.set()
        assert message_of(socket, "reply")["result"] == {}


def test_a_storm_of_commands_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "Rate", lambda per_s, burst: Rate(per_s=1e-6, burst=8 if per_s < 10 else 1000))
    with PageServer(port=0, commands=lambda name, arguments: {}) as page, viewer(page) as socket:
        replies = [asked(socket, id=i, name="pause") for i in range(10)]
        assert "result" in replies[0] and "too many" in replies[-1]["error"]


def test_of_several_sources_a_viewer_sees_one() -> None:
    with PageServer(port=0, sources=["door", "rtsp://user:secret@cam/1"]) as page, viewer(page) as socket:
        hello = message_of(socket, "hello")
        assert [source["name"] for source in hello["sources"]] == ["door", "rtsp://***@cam/1"]
        watched(page)
        page.put(frame(0, face()), IMAGE, "rtsp://user:secret@cam/1")
        page.put(frame(1, face()), IMAGE, "door")
        assert message_of(socket, "frame")["source"] == "door"
        socket.send('{"type":"watch","source":1}')
        message_of(socket, "history")
        page.put(frame(2, face()), IMAGE, "door")
        page.put(frame(3, face()), IMAGE, "rtsp://user:secret@cam/1")
        seen = message_of(socket, "frame")
        assert (seen["frame"], seen["source"]) == (3, "rtsp://***@cam/1")
        socket.send('{"type":"watch","source":7}')
        assert "watch" in message_of(socket, "reply")["error"]


def test_closing_tells_viewers_and_frees_the_port() -> None:
    page = PageServer(port=0)
    with viewer(page) as socket:
        message_of(socket, "hello")
        page.close()
        with pytest.raises(exceptions.ConnectionClosed):
            while True:
                socket.recv(10)
    page.close()
    PageServer(port=page.port).close()
