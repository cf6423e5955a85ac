"""OSC 1.0 over UDP, for sound, light and stage: the numbers of the messages at addresses of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from .base import MessageSink
from .extras import load_extra
from .udp import DatagramSocket

__all__ = ["OscSink"]


class OscSink(MessageSink):
    """Sends the numbers of every message to host:port; docs/sinks.md has the addresses.

    A frame is one bundle with PREFIX/frame, and one for every face, of messages such as PREFIX/face/3/au/AU12 with its
    probability and 1 or 0 for active. A number that is not known is left out with its message. See `DatagramSocket` for
    hosts and errors, `MessageSink` for `source`, which OSC does not carry.

    Raises InvalidInput for a prefix that is no address; BackendUnavailable where python-osc is missing.
    """

    retries = True

    def __init__(self, host: str, port: int, prefix: str = "aunet", source: str = "", *, ttl: int = 1) -> None:
        super().__init__(source)
        self._bundles = load_extra("pythonosc.osc_bundle_builder", "OSC", 'pip install "aunet_sdk[osc]"')
        self._messages = load_extra("pythonosc.osc_message_builder", "OSC", 'pip install "aunet_sdk[osc]"')
        self.prefix = "/" + prefix.strip("/")
        if (
            not prefix.isascii()
            or not prefix.isprintable()
            or set(" #*,?[]{}") & set(prefix)
            or prefix.strip("/") == ""
        ):
            raise InvalidInput(f"OSC: expected a prefix such as aunet, without spaces and #*,?[]{{}}, got {prefix!r}")
        self._socket = DatagramSocket(host, port, "OSC", ttl)

    def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "frame":
            time_s = message["timestamp_s"]
            self._send({"frame": [message["frame"], time_s, len(message["faces"]), int(message["provisional"])]})
            for face in message["faces"]:
                self._send({f"face/{face['id']}/{name}": values for name, values in _face(face).items()})
        elif message["type"] == "event":
            event = ("phase", "au", "face", "timestamp_s", "peak", "duration_s")
            self._send({"event": [message[name] for name in event]})
        else:
            status = [message[name] or "" for name in ("state", "reason", "engine")]
            self._send({"status": status, "fps": [message["fps"]]})

    def close(self) -> None:
        """It may be called twice."""
        self._socket.close()

    def _send(self, values: Mapping[str, list[Any]]) -> None:
        bundle = self._bundles.OscBundleBuilder(self._bundles.IMMEDIATELY)
        for name, arguments in values.items():
            if None in arguments:
                continue
            builder = self._messages.OscMessageBuilder(f"{self.prefix}/{name}")
            for argument in arguments:
                # seconds need more digits than a float has
                builder.add_arg(argument, "d" if isinstance(argument, float) and abs(argument) > 1000 else None)
            bundle.add_content(builder.build())
        self._socket.send(bundle.build().dgram)


def _face(face: Mapping[str, Any]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {
        "box": list(face["box"].values()),
        "pose": list(face["pose"].values()),
        "score": [face["score"]],
    }
    for name, au in face["aus"].items():
        values[f"au/{name}"] = [au["probability"], int(au["active"])]
    return values
