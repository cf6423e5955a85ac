"""The configuration file of `aunet live` (TOML), checked key by key. docs/live.md lists the keys.

An unknown key is an error that names the nearest known one: a threshold that is spelt wrong must not be passed over.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import BackendUnavailable, InvalidInput
from ..facs import au_name
from ..options import DetectorOptions
from ..sources import SourceOptions

__all__ = ["LiveConfig", "SinkEntry", "SourceEntry"]

LARGEST = 1e9
"""of every number of seconds: 30 years"""
EVENTS = ("release", "min_duration_s", "min_pause_s", "max_gap_s")
"""the arguments of EventTracker that a file may set"""
NOTICE = ("operator", "contact", "purpose")
"""what the notice for people may say"""


@dataclass(frozen=True)
class SourceEntry:
    """One `[[source]]`."""

    uri: str
    name: str
    options: SourceOptions = field(default_factory=SourceOptions)


@dataclass(frozen=True)
class SinkEntry:
    """One `[[sink]]`; what stands beside its `uri` are options of that kind of sink."""

    uri: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def per_source(self) -> bool:
        """Whether every source has one of its own: `{source}` in the address is the source's name."""
        return "{source}" in self.uri


@dataclass(frozen=True)
class LiveConfig:
    """What a file says. `read` makes it."""

    sources: tuple[SourceEntry, ...] = ()
    sinks: tuple[SinkEntry, ...] = ()
    detector: Mapping[str, Any] = field(default_factory=dict)
    """fields of DetectorOptions"""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """by AU name"""
    events: Mapping[str, float] = field(default_factory=dict)
    """arguments of EventTracker"""
    serve: str | None = None
    token: str | None = None
    notice: Mapping[str, str] = field(default_factory=dict)
    """fields of the page's Notice: operator, contact, purpose"""
    realtime: bool = False
    duration_s: float | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LiveConfig:
        """The checked content of a file. `${NAME}` in an address or a token is the environment variable of that name.

        Raises InvalidInput where the file cannot be read, is no TOML, or has a key or value that is not expected; the
        message names the file and the key.
        """
        file = Path(path)
        try:
            table = _parser()(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInput(f"configuration: cannot read {file}: {error.strerror or error}") from error
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
            raise InvalidInput(f"configuration: expected TOML in {file}, got: {error}") from error
        try:
            return cls.of(table)
        except InvalidInput as error:
            raise InvalidInput(f"configuration: {file}: {error}") from None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> LiveConfig:
        """Of a parsed file. Raises InvalidInput, see `read`."""
        known = ("live", "detector", "thresholds", "events", "serve", "notice", "source", "sink")
        _known("", table, known)
        live = _section(table, "live", ("realtime", "duration_s"))
        serve = _section(table, "serve", ("address", "token", "token_file"))
        realtime = _typed("live.realtime", live.get("realtime", False), bool)
        duration = live.get("duration_s")
        sources = [_source(i, each, realtime) for i, each in enumerate(_list(table, "source"))]
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInput(f"source: expected a name of its own for each, got {name!r} twice; set name = ...")
        detector = _section(table, "detector", [each.name for each in fields(DetectorOptions)])
        if "aus" in detector:
            detector["aus"] = tuple(_typed("detector.aus", detector["aus"], list))
        thresholds = _typed("thresholds", table.get("thresholds", {}), dict)
        return cls(
            sources=tuple(sources),
            sinks=tuple(_sink(i, each) for i, each in enumerate(_list(table, "sink"))),
            detector=detector,
            thresholds={au_name(name): _share(f"thresholds.{name}", value) for name, value in thresholds.items()},
            events={k: _number(f"events.{k}", v) for k, v in _section(table, "events", EVENTS).items()},
            serve=_text("serve.address", serve["address"]) if "address" in serve else None,
            token=_token(serve),
            notice={k: _text(f"notice.{k}", v) for k, v in _section(table, "notice", NOTICE).items()},
            realtime=realtime,
            duration_s=None if duration is None else _number("live.duration_s", duration),
        )


def _source(index: int, table: Any, realtime: bool) -> SourceEntry:
    where = f"source[{index}]"
    given = dict(_typed(where, table, dict))
    options = {each.name: each for each in fields(SourceOptions)}
    _known(where, given, ("uri", "name", *options))
    uri, name = _uri(where, given), given.pop("name", None)
    if realtime:
        given.setdefault("realtime", True)
    for key, value in given.items():
        default = options[key].default
        if isinstance(default, bool) and default is not MISSING:
            _typed(f"{where}.{key}", value, bool)
    try:
        chosen = SourceOptions(**given)
    except (TypeError, InvalidInput) as error:
        raise InvalidInput(f"{where}: {error}") from None
    return SourceEntry(uri, uri if name is None else _text(f"{where}.name", name), chosen)


def _sink(index: int, table: Any) -> SinkEntry:
    where = f"sink[{index}]"
    given = dict(_typed(where, table, dict))
    uri = _uri(where, given)
    return SinkEntry(uri, tuple(sorted((key, _hashable(value)) for key, value in given.items())))


def _uri(where: str, table: dict[str, Any]) -> str:
    if "uri" not in table:
        near = _nearest("uri", [key for key in table])
        raise InvalidInput(f"{where}: expected a key uri{f', got {near}' if near else ''}")
    value = table.pop("uri")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(f"{where}.uri", value)


def _token(serve: Mapping[str, Any]) -> str | None:
    if "token" in serve and "token_file" in serve:
        raise InvalidInput("serve: expected either token or token_file, got both")
    if "token_file" in serve:
        file = Path(_text("serve.token_file", serve["token_file"]))
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"serve.token_file: cannot read {file}: {error}") from error
    return _text("serve.token", serve["token"]) if "token" in serve else None


def _section(table: Mapping[str, Any], name: str, known: Iterable[str]) -> dict[str, Any]:
    section = dict(_typed(name, table.get(name, {}), dict))
    _known(name, section, known)
    return section


def _list(table: Mapping[str, Any], name: str) -> list[Any]:
    value = table.get(name, [])
    if not isinstance(value, list):
        raise InvalidInput(f"{name}: expected tables [[{name}]], got [{name}] or a value; write it with two brackets")
    return value


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    names = list(known)
    for key in table:
        if key not in names:
            near = _nearest(key, names)
            advice = f"did you mean {near}?" if near else f"known are {', '.join(names)}"
            raise InvalidInput(f"{where + '.' if where else ''}{key}: no such key; {advice}")


def _nearest(key: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(key, list(names), n=1, cutoff=0.5)), None)


def _typed(where: str, value: Any, kind: type) -> Any:
    names = {dict: "a table", bool: "true or false", list: "an array", str: "text"}
    if not isinstance(value, kind):
        raise InvalidInput(f"{where}: expected {names[kind]}, got {value!r}")
    return value


def _text(where: str, value: Any) -> str:
    """With environment variables in the place of their names."""

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InvalidInput(f"{where}: expected the environment variable {match[1]}, got none of that name")
        return os.environ[match[1]]

    text: str = _typed(where, value, str)
    return re.sub(r"\$\{(\w+)\}", variable, text)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise InvalidInput(f"{where}: expected a number from 0 to {LARGEST:g}, got {value!r}")
    return float(value)


def _share(where: str, value: Any) -> float:
    if not 0 <= _number(where, value) <= 1:
        raise InvalidInput(f"{where}: expected a number from 0 to 1, got {value!r}")
    return float(value)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _parser() -> Callable[[str], dict[str, Any]]:
    if sys.version_info >= (3, 11):
        from tomllib import loads
    else:
        try:
            from tomli import loads
        except ImportError as error:
            raise BackendUnavailable(
                f'configuration: expected a TOML reader, got {error}; pip install "aunet_sdk[live]"'
            ) from error
    return loads
