"""A sink by its URI: `csv:PATH`, `mqtt://HOST/PREFIX` and the like. docs/sinks.md has them all with their options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._util.uris import without_credentials
from ..errors import InvalidInput
from .address import Address, parse_address
from .base import Sink

__all__ = ["SINK_FORMS", "open_sink"]


def open_sink(
    uri: str,
    *,
    source: str = "",
    au_names: Sequence[str] = (),
    provisional: bool = False,
    fps: float = 30.0,
    **options: Any,
) -> Sink:
    """The sink that `uri` names (`SINK_FORMS`).

    Args:
        source: the source as it was given, for messages and tables; user, password and token are hidden.
        au_names: the AUs of the results, `detector.au_names`; tables need them.
        provisional: whether provisional results are to stand in tables, marked as such.
        fps: frames per second, for a video.
        options: of this kind of sink. A URI with a host may hold them, too: `ws://0.0.0.0:8765?token=...`.

    Raises InvalidInput for an unknown kind or option and for a place that cannot be used; BackendUnavailable, with the
    command that mends it, where the library of an extra is missing.
    """
    kind, colon, rest = uri.partition(":")
    kind = kind.lower()
    if not colon or kind not in _KINDS:
        close = difflib.get_close_matches(kind, _KINDS, 1)
        hint = f"; did you mean {SINK_FORMS[close[0]]}?" if close else ""
        raise InvalidInput(f"sink: expected {', '.join(SINK_FORMS.values())}, got {without_credentials(uri)!r}{hint}")
    opener = _KINDS[kind]
    place: Address | str = rest
    if "://" in SINK_FORMS[kind]:
        place = parse_address(uri, _DEFAULT_PORTS.get(kind), listens=kind in _SERVERS)
        options = {**place.options, **options}
    elif not rest:
        raise InvalidInput(f"sink: expected {SINK_FORMS[kind]}, got {uri!r}")
    common = {"source": source, "au_names": tuple(au_names), "provisional": provisional, "fps": fps}
    return opener(place, **_arguments(kind, opener, common, options))


def _arguments(
    kind: str, opener: Callable[..., Sink], common: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What this opener takes. Texts, as they come from a URI, become what its default is."""
    taken = {name: p.default for name, p in inspect.signature(opener).parameters.items() if p.kind is p.KEYWORD_ONLY}
    own = [name for name in taken if name not in common]
    arguments = {name: value for name, value in common.items() if name in taken}
    for name, value in options.items():
        if name not in own:
            close = difflib.get_close_matches(name, own, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InvalidInput(f"sink {kind}: expected the options {', '.join(own) or '(none)'}, got {name!r}{hint}")
        arguments[name] = _converted(f"sink {kind}: {name}", value, taken[name])
    return arguments


def _converted(what: str, value: Any, default: Any) -> Any:
    kind = type(default)
    if isinstance(value, kind) or (kind is float and isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        if kind is bool and value.lower() in ("1", "true", "yes", "", "0", "false", "no"):
            return value.lower() in ("1", "true", "yes", "")
        if kind is tuple:
            return tuple(part for part in value.split(",") if part)
        if kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list"}
    raise InvalidInput(f"{what}: expected {names[kind]}, got {value!r}")


def _path(text: str) -> Path:
    return Path(text).expanduser() if text.startswith("~") else Path(text)


def _names(what: str, au_names: tuple[str, ...]) -> tuple[str, ...]:
    if not au_names:
        raise InvalidInput(f"{what}: expected au_names, such as those of the detector, got none")
    return au_names


def _csv(
    place: str,
    *,
    au_names: tuple[str, ...],
    provisional: bool,
    landmarks: bool = False,
    with_file: bool = False,
    validity: bool = False,
    intensity: bool = False,
) -> Sink:
    from .csv import CsvSink

    return CsvSink(_path(place), _names("csv", au_names), landmarks, with_file, provisional, validity, intensity)


def _jsonl(place: str, *, source: str) -> Sink:
    from .jsonl import JsonlSink

    return JsonlSink(place if place == "-" else _path(place), source)


def _video(place: str, *, fps: float) -> Sink:
    from .video import VideoSink

    return VideoSink(_path(place), fps, draw=True)


def _udp(place: Address, *, source: str, ttl: int = 1) -> Sink:
    from .udp import UdpSink

    return UdpSink(place.host, place.port, source, ttl=ttl)


def _parquet(
    place: str,
    *,
    au_names: tuple[str, ...],
    source: str,
    landmarks: bool = False,
    validity: bool = False,
    intensity: bool = False,
    flush_s: float = 10.0,
) -> Sink:
    from .parquet import ParquetSink

    wanted = {"landmarks": landmarks, "validity": validity, "intensity": intensity}
    return ParquetSink(_path(place), _names("parquet", au_names), source, **wanted, flush_s=flush_s)


def _ws(place: Address, *, source: str, token: str = "", origins: tuple[str, ...] = (), most_clients: int = 16) -> Sink:
    from .websocket import WebSocketSink

    return WebSocketSink(place.host, place.port, source, token=token, origins=origins, most_clients=most_clients)


def _mqtt(
    place: Address,
    *,
    source: str,
    au_names: tuple[str, ...],
    username: str = "",
    password: str = "",
    ca_file: str = "",
    client_id: str = "",
    home_assistant: bool = False,
) -> Sink:
    from .mqtt import MqttSink

    return MqttSink(
        place.host,
        place.port,
        place.path or "aunet",
        source,
        username=username or place.username,
        password=password or place.password,
        tls=place.scheme == "mqtts",
        ca_file=ca_file,
        client_id=client_id,
        home_assistant=home_assistant,
        au_names=au_names,
    )


def _osc(place: Address, *, source: str, ttl: int = 1) -> Sink:
    from .osc import OscSink

    return OscSink(place.host, place.port, place.path or "aunet", source, ttl=ttl)


def _prometheus(place: Address) -> Sink:
    from .prometheus import PrometheusSink

    return PrometheusSink(place.host, place.port)


def _ros2(place: str, *, source: str, frame_id: str = "camera", cropped: bool = True, stamp: str = "now") -> Sink:
    from .ros2 import Ros2Sink

    return Ros2Sink(place, source, frame_id=frame_id, cropped=cropped, stamp=stamp)


def _rosbag(place: str, *, source: str, frame_id: str = "camera", cropped: bool = False) -> Sink:
    from .rosbag import RosbagSink

    return RosbagSink(_path(place), source, frame_id=frame_id, cropped=cropped)


_KINDS: dict[str, Callable[..., Sink]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "video": _video,
    "udp": _udp,
    "ws": _ws,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
    "osc": _osc,
    "prometheus": _prometheus,
    "ros2": _ros2,
    "rosbag": _rosbag,
}
SINK_FORMS: Mapping[str, str] = {
    "csv": "csv:PATH",
    "jsonl": "jsonl:PATH (- for standard output)",
    "parquet": "parquet:PATH",
    "video": "video:PATH",
    "udp": "udp://HOST:PORT",
    "ws": "ws://HOST:PORT (serves)",
    "mqtt": "mqtt://HOST:PORT/PREFIX",
    "mqtts": "mqtts://HOST:PORT/PREFIX",
    "osc": "osc://HOST:PORT/PREFIX",
    "prometheus": "prometheus://HOST:PORT (serves)",
    "ros2": "ros2:NAMESPACE (/ for none)",
    "rosbag": "rosbag:PATH",
}
"""How a URI of each kind looks."""
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_SERVERS = ("ws", "prometheus")
