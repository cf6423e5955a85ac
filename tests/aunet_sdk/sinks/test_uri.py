"""Sinks by URI, and the parts of addresses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aunet_sdk.errors import AUNetError, BackendUnavailable, InvalidInput
from aunet_sdk.facs import AU_NAMES
from aunet_sdk.sinks import SINK_FORMS, open_sink
from aunet_sdk.sinks.address import parse_address

from ..scripted import face, frame


def test_tables_messages_and_videos_by_their_path(tmp_path: Path) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    common = {"source": "rtsp://a:b@cam/1", "au_names": AU_NAMES, "provisional": True, "fps": 25.0}
    for name in ("csv:a:b.csv", "jsonl:a.jsonl", "video:a.mkv"):
        kind, _, file = name.partition(":")
        with open_sink(f"{kind}:{tmp_path / file}", **common) as sink:
            for index in range(3):
                sink.put(frame(index, face()), image)
    rows = (tmp_path / "a:b.csv").read_text().splitlines()
    assert len(rows) == 4 and ",provisional," in rows[0]
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["source"] == "rtsp://***@cam/1"
    with av.open(str(tmp_path / "a.mkv")) as video:
        pictures = [picture.to_ndarray(format="bgr24") for picture in video.decode(video=0)]
    assert len(pictures) == 3
    assert np.abs(pictures[0].astype(int) - 90).max() > 50, "the face is drawn onto it"
    assert (image == 90).all(), "into a copy"


def test_options_stand_beside_the_uri_or_in_it(tmp_path: Path) -> None:
    with open_sink(f"csv:{tmp_path / 'a.csv'}", au_names=("AU12",), landmarks=True) as sink:
        assert ",y67" in (tmp_path / "a.csv").read_text()
        sink.close()
    with open_sink("udp://127.0.0.1:9?ttl=4") as sink:
        assert sink._socket._ttl == 4


@pytest.mark.parametrize(
    ("uri", "options", "expected"),
    [
        ("", {}, "expected csv:PATH"),
        ("results.csv", {}, "expected csv:PATH"),
        ("cvs:results.csv", {}, "did you mean csv:PATH"),
        ("nonsense://u:hunter2@host", {}, r"got 'nonsense://\*\*\*@host'"),
        ("csv:", {"au_names": ("AU1",)}, "expected csv:PATH"),
        ("csv:/a.csv", {}, "au_names"),
        ("jsonl:/x\0y", {}, "cannot write"),
        ("udp://host", {}, "expected udp://HOST:PORT"),
        ("udp://:9", {}, "expected udp://HOST:PORT"),
        ("udp:host:9", {}, "expected udp://HOST:PORT"),
        ("udp://host:0", {}, "1 to 65535"),
        ("udp://host:65536", {}, "1 to 65535"),
        ("udp://host:" + "9" * 5000, {}, "1 to 65535"),
        ("udp://host:٣", {}, "1 to 65535"),
        ("udp://[::1:9", {}, "expected udp"),
        ("udp://user:hunter2@host:x", {}, "expected udp"),
        ("udp://host:9?tll=3", {}, "did you mean ttl"),
        ("udp://host:9?ttl=x", {}, "ttl: expected a whole number, got 'x'"),
        ("udp://host:9", {"ttl": 1.5}, "ttl: expected a whole number, got 1.5"),
        ("udp://host:9?source=x", {}, "expected the options ttl, got 'source'"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_password(uri: str, options: dict, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected) as error:
        open_sink(uri, **options)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "host", "port", "path", "username", "password"),
    [
        ("mqtt://broker/a/b/", "broker", 1883, "a/b", None, None),
        ("MQTT://me:p%40ss@broker:99", "broker", 99, "", "me", "p@ss"),
        ("mqtt://me:p@/s#s@[fe80::1]:99/x?q=1", "fe80::1", 99, "x", "me", "p@/s#s"),
        ("mqtt://me@[::1]", "::1", 1883, "", "me", None),
    ],
)
def test_the_parts_of_an_address(
    uri: str, host: str, port: int, path: str, username: str | None, password: str | None
) -> None:
    address = parse_address(uri, 1883)
    assert (address.host, address.port, address.path) == (host, port, path)
    assert (address.username, address.password) == (username, password)
    assert password is None or password not in str(address) + repr(address)
    assert parse_address(str(address), 1883).path == path


@pytest.mark.parametrize(
    ("uri", "module", "command"),
    [
        ("parquet:a.parquet", "pyarrow", 'pip install "aunet_sdk[parquet]"'),
        ("ws://127.0.0.1:0", "websockets.asyncio.server", 'pip install "aunet_sdk[live]"'),
        ("mqtt://127.0.0.1", "paho.mqtt.client", 'pip install "aunet_sdk[mqtt]"'),
        ("osc://127.0.0.1:9", "pythonosc.osc_bundle_builder", 'pip install "aunet_sdk[osc]"'),
        ("prometheus://127.0.0.1:0", "prometheus_client", 'pip install "aunet_sdk[prometheus]"'),
        ("rosbag:bag", "rosbags.rosbag2", 'pip install "aunet_sdk[rosbag]"'),
        ("ros2:/", "rclpy", "source the setup file of your ROS 2"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    uri: str, module: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match=re.escape(command)):
        open_sink(uri, au_names=AU_NAMES)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=60) | st.from_regex(re.compile(r"(udp|csv|ws|mqtt)://[\x20-\x7e]{0,40}"), fullmatch=True))
def test_any_text_opens_or_is_refused(text: str) -> None:
    try:
        parse_address(text)
    except AUNetError:
        pass
    kind = text.partition(":")[0].lower()
    if kind not in SINK_FORMS:
        with pytest.raises(InvalidInput):
            open_sink(text)
