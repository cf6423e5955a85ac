"""MQTT against a real mosquitto: topics, the last will, a broker that goes and comes, passwords."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aunet_sdk.errors import AUNetError, InvalidInput
from aunet_sdk.post.events import AUEvent, Phase
from aunet_sdk.sinks import mqtt as mqtt_module
from aunet_sdk.sinks import open_sink
from aunet_sdk.sinks.message import message_schema, status_message

from ..scripted import face, frame

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
MOSQUITTO = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if os.path.exists("/usr/sbin/mosquitto") else None)
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="the broker mosquitto is not installed")
EVENT = AUEvent(Phase.ONSET, "AU12", 1, 0.2, 0.9, 0.0)


def until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


class Broker:
    """mosquitto at a port of its own, with the password `hunter2` for `robot` where it is asked for, and with a
    certificate for localhost, by the authority `ca.pem`, where `tls` is set."""

    def __init__(self, folder: Path, password: bool = False, tls: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}", "user root"]
        if password:
            secret = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", str(secret), "robot", "hunter2"], check=True)
            secret.chmod(0o644)
            lines.append(f"password_file {secret}")
        if tls:
            certify(folder)
            lines += [f"{name}file {folder / file}" for name, file in (("cert", "me.pem"), ("key", "me.key"))]
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stdout=quiet, stderr=quiet)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers, "mosquitto answers")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def certify(folder: Path) -> None:
    """An authority, ca.pem, and its certificate for localhost: me.pem, me.key."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=test",
        "req -newkey rsa:2048 -nodes -keyout me.key -out me.csr -subj /CN=me -addext subjectAltName=DNS:localhost",
        "x509 -req -in me.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out me.pem -copy_extensions copy",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


class Listener:
    """Everything under `aunet/#` and `homeassistant/#`."""

    def __init__(self, port: int, **login: str) -> None:
        self.got: list[tuple[str, Any, bool]] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe([("aunet/#", 1), ("homeassistant/#", 1)])
        self.ready = False
        self.client.on_subscribe = lambda *_: setattr(self, "ready", True)
        self.client.on_message = lambda _c, _d, m: self.got.append((m.topic, m.payload.decode(), m.retain))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        until(lambda: self.ready, "subscribed")

    def of(self, topic: str) -> list[Any]:
        return [payload for name, payload, _ in list(self.got) if name == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


def test_messages_stand_under_their_topics(broker: Broker, listener: Listener) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/aunet/hall", source="rtsp://a:secret@cam/1")
    until(lambda: sink.trouble is None, "connected")
    for index in range(20):
        sink.put(frame(index, face()))
    sink.event(EVENT)
    sink.status(status_message("running", engine="onnxruntime", fps=25))
    sink.close()
    sink.close()
    until(lambda: "offline" in listener.of("aunet/hall/availability"), "farewell")
    frames = [json.loads(text) for text in listener.of("aunet/hall/frame")]
    assert [message["frame"] for message in frames] == list(range(20)) and sink.left_out == 0
    assert frames[0]["source"] == "rtsp://***@cam/1"
    others = [json.loads(listener.of(f"aunet/hall/{topic}")[0]) for topic in ("event", "status")]
    for message in [*frames, *others]:
        jsonschema.validate(message, message_schema())
    assert listener.of("aunet/hall/availability") == ["online", "offline"]
    late = Listener(broker.port)
    until(lambda: len(late.got) >= 2, "what is retained")
    late.close()
    assert {topic for topic, _, retained in late.got if retained} == {"aunet/hall/status", "aunet/hall/availability"}
    with pytest.raises(AUNetError, match="closed"):
        sink.put(frame(99))


def test_a_broker_that_dies_and_comes_back_gets_the_events_and_what_is_new(
    broker: Broker, listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "RETRY_S", (3, 3))  # the listener is back before the sink
    with open_sink(f"mqtt://127.0.0.1:{broker.port}") as sink:
        until(lambda: sink.trouble is None, "connected")
        sink.put(frame(0))
        until(lambda: listener.of("aunet/frame"), "first")
        broker.kill()
        until(lambda: sink.trouble, "noticed")
        for index in range(1, 11):
            sink.put(frame(index))
        sink.event(EVENT)
        assert sink.left_out == 10
        listener.ready = False
        broker.start()
        until(lambda: listener.ready, "the listener is back")
        until(lambda: sink.trouble is None, "back")
        until(lambda: sink.put(frame(11)) or len(listener.of("aunet/frame")) > 1, "new frames")
        until(lambda: listener.of("aunet/event"), "the event was kept")
    frames = [json.loads(text)["frame"] for text in listener.of("aunet/frame")]
    assert frames[0] == 0 and set(frames[1:]) == {11}
    assert len([r for r in caplog.records if "is gone" in r.getMessage()]) == 1


def test_a_broker_that_freezes_holds_up_nobody(
    broker: Broker, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "MOST_WAITING", 20)
    with open_sink(f"mqtt://127.0.0.1:{broker.port}") as sink:
        until(lambda: sink.trouble is None, "connected")
        broker.process.send_signal(signal.SIGSTOP)
        crowd = [face(i) for i in range(1, 21)]
        until(lambda: sink.put(frame(0, *crowd)) or sink.left_out > 20, "its buffers are full, and we go on")
        assert len(sink._waiting) <= mqtt_module.MOST_WAITING
        broker.process.send_signal(signal.SIGCONT)
        sent = sink.left_out
        until(lambda: sink.put(frame(1)) or '"frame":1,' in "".join(listener.of("aunet/frame")[-1:]), "back")
        assert sink.left_out >= sent


def test_a_killed_process_leaves_its_last_will(broker: Broker, listener: Listener) -> None:
    code = (
        "import sys, time\nfrom aunet_sdk.sinks import open_sink\n"
        f"sink = open_sink('mqtt://127.0.0.1:{broker.port}')\n"
        "while sink.trouble: time.sleep(.01)\nprint('there', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        until(lambda: listener.of("aunet/availability") == ["online"], "online")
    finally:
        process.kill()
        process.communicate()
    until(lambda: listener.of("aunet/availability") == ["online", "offline"], "the broker tells")


def test_passwords_are_used_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    broker = Broker(tmp_path, password=True)
    try:
        with open_sink(f"mqtt://robot:hunter2@127.0.0.1:{broker.port}/aunet") as sink:
            until(lambda: sink.trouble is None, "let in")
        with open_sink(f"mqtt://127.0.0.1:{broker.port}", username="robot", password="hunter2") as sink:
            until(lambda: sink.trouble is None, "let in")
        with open_sink(f"mqtt://robot:hunter3@127.0.0.1:{broker.port}") as sink:
            until(lambda: "refuses" in (sink.trouble or ""), "sent away")
            sink.put(frame(0))
            assert sink.left_out == 1
    finally:
        broker.kill()
    assert "hunter" not in caplog.text and "hunter" not in repr(sink)


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not installed")
def test_the_brokers_certificate_is_checked(tmp_path: Path) -> None:
    broker = Broker(tmp_path, tls=True)
    try:
        with open_sink(f"mqtts://localhost:{broker.port}", ca_file=str(tmp_path / "ca.pem")) as sink:
            until(lambda: sink.trouble is None, "let in")
        with open_sink(f"mqtts://localhost:{broker.port}") as sink:
            until(lambda: "not trusted" in (sink.trouble or ""), "the authority is not known")
            assert "ca_file" in (sink.trouble or "")
        with open_sink(f"mqtts://127.0.0.1:{broker.port}", ca_file=str(tmp_path / "ca.pem")) as sink:
            until(lambda: "IP address mismatch" in (sink.trouble or ""), "the name is another")
    finally:
        broker.kill()


def test_home_assistant_learns_of_the_device(broker: Broker, listener: Listener) -> None:
    uri = f"mqtt://127.0.0.1:{broker.port}/aunet/hall?home_assistant=true"
    with open_sink(uri, au_names=("AU1", "AU26")) as sink:
        until(lambda: listener.of("homeassistant/device/aunet_aunet_hall/config"), "discovery")
        for index in range(5):
            sink.put(frame(index, face(), face(2, probabilities=[float("nan")] * 14 + [0.97])))
        until(lambda: listener.of("aunet/hall/summary"), "summary")
    device = json.loads(listener.of("homeassistant/device/aunet_aunet_hall/config")[0])
    assert set(device["cmps"]) == {"people", "au1", "au26"}
    assert device["state_topic"] == "aunet/hall/summary" and device["availability_topic"] == "aunet/hall/availability"
    assert device["cmps"]["au26"]["value_template"] == "{{ value_json.AU26 }}"
    summaries = listener.of("aunet/hall/summary")
    assert len(summaries) == 1 and json.loads(summaries[0]) == {"people": 2, "AU1": 0.05, "AU26": 0.97}


def test_a_dead_broker_delays_nothing_and_bad_options_are_refused(tmp_path: Path) -> None:
    with open_sink("mqtt://127.0.0.1:1/aunet") as sink:
        sink.put(frame(0))
        sink.event(EVENT)
        until(lambda: "cannot connect to 127.0.0.1:1: Connection refused" in (sink.trouble or ""), "told")
        assert sink.left_out == 1
    with pytest.raises(InvalidInput, match="prefix"):
        open_sink("mqtt://127.0.0.1:1/a/#")
    with pytest.raises(InvalidInput, match="certificates"):
        open_sink("mqtts://127.0.0.1:1/a", ca_file=str(tmp_path / "missing.pem"))
