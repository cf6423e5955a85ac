"""MQTT: every message "aunet/1" under a topic of a broker, by paho-mqtt. docs/sinks.md has the topics."""

from __future__ import annotations

import json
import logging
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import AUNetError, InvalidInput
from .base import MessageSink
from .extras import load_extra
from .message import encode

if TYPE_CHECKING:
    import numpy as np

    from ..results import FrameResult

__all__ = ["MqttSink"]

log = logging.getLogger(__name__)

KEEPALIVE_S = 20
"""how often a silent connection is checked; a broker that hangs is noticed after 1.5 times that"""
RETRY_S = (1, 30)
"""first and longest pause before another attempt to connect"""
MOST_WAITING = 200
"""frames and statuses that were handed to a connection and have not left it; what comes on top is left out"""
MOST_EVENTS = 1000
"""events that wait for the broker to acknowledge them, also while it is away"""
SUMMARY_S = 1.0
END_S = 2.0


class MqttSink(MessageSink):
    """Publishes frames to PREFIX/frame, events to PREFIX/event (QoS 1), statuses to PREFIX/status (retained), and
    whether it is there to PREFIX/availability: "online", and "offline" as the last will.

    Args:
        prefix: begins every topic, without wildcards.
        source: see `MessageSink`.
        username, password: of the broker; they stand in no log and no error.
        tls: whether the connection is encrypted and the broker's certificate is checked, against the system's
            authorities or those in `ca_file`.
        client_id: as the broker shall know this client; "": the broker gives one.
        home_assistant: whether Home Assistant gets to know of one device with the number of people and the AUs of
            `au_names` (discovery by device, 2024.11 or later), whose values stand in PREFIX/summary once a second: of
            every AU the largest probability of all people.

    Nothing here waits for the broker. While it is away `trouble` says why, events wait (1000 at most), frames and
    statuses are left out and counted in `left_out`; the connection is tried again at least every 30 s.

    Raises InvalidInput for a prefix that is no topic and for a `ca_file` that cannot be read; BackendUnavailable
    where paho-mqtt is missing.
    """

    def __init__(
        self,
        host: str,
        port: int = 1883,
        prefix: str = "aunet",
        source: str = "",
        *,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        ca_file: str = "",
        client_id: str = "",
        home_assistant: bool = False,
        au_names: Sequence[str] = (),
    ) -> None:
        super().__init__(source)
        self._mqtt = load_extra("paho.mqtt.client", "MQTT", 'pip install "aunet_sdk[mqtt]"')
        if not prefix or set("+#\0") & set(prefix) or len(prefix.encode("utf-8", "replace")) > 1000:
            raise InvalidInput(f"MQTT: expected a prefix without +, # and NUL, got {prefix!r}")
        self.prefix = prefix
        self.left_out = 0
        self._place = f"{host}:{port}"
        self._au_names = tuple(au_names)
        self._home_assistant = home_assistant
        self._summary_s = -SUMMARY_S
        self._waiting: deque[Any] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self.trouble = f"not yet connected to {self._place}"
        client = self._mqtt.Client(self._mqtt.CallbackAPIVersion.VERSION2, client_id=client_id)
        if username is not None:
            client.username_pw_set(username, password)
        if tls:
            try:
                client.tls_set(ca_certs=ca_file or None)
            except (OSError, ValueError) as error:
                raise InvalidInput(f"MQTT: cannot read the certificates {ca_file!r}: {error}") from error
        client.will_set(f"{prefix}/availability", "offline", qos=1, retain=True)
        client.max_queued_messages_set(MOST_EVENTS)
        client.reconnect_delay_set(*RETRY_S)
        client.connect_timeout = 5.0
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail = self._not_connected
        client.connect_async(host, port, KEEPALIVE_S)
        client.loop_start()
        self._client = client

    def put(self, result: FrameResult, image: np.ndarray | None = None, file: str | None = None) -> None:
        super().put(result, image, file)
        if self._home_assistant and not result.provisional and time.monotonic() - self._summary_s >= SUMMARY_S:
            self._summary_s = time.monotonic()
            values: dict[str, Any] = {"people": len(result.faces)}
            for name in self._au_names:
                known = [face.au[name] for face in result.faces if name in face.au_names]
                values[name] = max((round(value, 5) for value in known if value == value), default=None)
            self._publish("summary", json.dumps(values, allow_nan=False))

    def send(self, message: Mapping[str, Any]) -> None:
        if self._closed:
            raise AUNetError("MQTT: this sink is closed; make a new one")
        kind = str(message["type"])
        self._publish(kind, encode(message), qos=int(kind == "event"), retain=kind == "status")

    def _publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        with self._lock:
            while self._waiting and self._waiting[0].is_published():
                self._waiting.popleft()
            if qos == 0 and (self.trouble is not None or len(self._waiting) >= MOST_WAITING):
                self.left_out += 1
                return
            info = self._client.publish(f"{self.prefix}/{topic}", payload, qos, retain)
            if qos == 0 and info.rc == self._mqtt.MQTT_ERR_SUCCESS:
                self._waiting.append(info)
            elif qos == 0 or info.rc == self._mqtt.MQTT_ERR_QUEUE_SIZE:
                self.left_out += 1

    def close(self) -> None:
        """Tells that it goes, and ends the connection; it takes some 2 s at most where the broker does not answer, 5 s
        while it tries to connect. It may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self.trouble is None:
            farewell = self._client.publish(f"{self.prefix}/availability", "offline", 1, True)
            try:
                farewell.wait_for_publish(END_S)
            except (RuntimeError, ValueError):  # the connection broke meanwhile: the last will does it
                pass
        self._client.disconnect()
        self._client.loop_stop()

    # In the client's own thread

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._tell(f"{self._place} refuses the connection: {reason}")
            return
        if self.trouble is not None:
            log.info("MQTT: connected to %s", self._place)
        self.trouble = None
        client.publish(f"{self.prefix}/availability", "online", 1, True)
        if self._home_assistant:
            identity = "aunet_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in self.prefix)
            device = _device(identity, self.prefix, self._au_names)
            client.publish(f"homeassistant/device/{identity}/config", json.dumps(device), 1, True)

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not self._closed:
            self._tell(self.trouble or f"{self._place} is gone: {reason}")

    def _not_connected(self, client: Any, data: Any) -> None:
        self._tell(f"cannot connect to {self._place}{_why(sys.exc_info()[1])}")

    def _tell(self, reason: str) -> None:
        if self.trouble != reason:
            log.warning("MQTT: %s; trying again", reason)
        self.trouble = reason


def _why(error: BaseException | None) -> str:
    """Of the error that paho handles while it calls `on_connect_fail`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f": its certificate is not trusted ({error.verify_message}); give its authority's as ca_file"
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
    return f": {reason}" if reason else ""


def _device(identity: str, prefix: str, au_names: Sequence[str]) -> dict[str, Any]:
    """What Home Assistant gets to know."""

    def sensor(key: str, name: str) -> dict[str, Any]:
        return {
            "p": "sensor",
            "name": name,
            "unique_id": f"{identity}_{key.lower()}",
            "value_template": f"{{{{ value_json.{key} }}}}",
            "state_class": "measurement",
        }

    return {
        "dev": {"ids": [identity], "name": prefix, "mf": "aunet_sdk", "sw": __version__},
        "o": {"name": "aunet_sdk", "sw": __version__},
        "state_topic": f"{prefix}/summary",
        "availability_topic": f"{prefix}/availability",
        "cmps": {"people": sensor("people", "People"), **{name.lower(): sensor(name, name) for name in au_names}},
    }
