"""Where a sink of the network sends to or listens: the parts of its URI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from .._util.uris import without_credentials
from ..errors import InvalidInput

__all__ = ["Address", "parse_address"]


@dataclass(frozen=True)
class Address:
    """The parts of SCHEME://USER:PASSWORD@HOST:PORT/PATH?OPTIONS. `str` hides user, password and token."""

    scheme: str
    host: str
    """without the brackets of an IPv6 address"""
    port: int
    path: str = ""
    """without the slashes at its ends"""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches a server there."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse_address(uri: str, default_port: int | None = None, *, listens: bool = False) -> Address:
    """The parts of `uri`. listens: the port 0, any that is free, is allowed. Raises InvalidInput."""
    scheme, separator, rest = uri.partition("://")
    port = ":PORT" if default_port is None else "[:PORT]"
    expected = f"expected {scheme.partition(':')[0]}://HOST{port}, got {without_credentials(uri)!r}"
    user, at, rest = rest.rpartition("@")  # a password may hold any character
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    if place.startswith("["):
        host, closed, number = place[1:].partition("]")
        number = number.removeprefix(":") if number.startswith(":") or not number else "?"
        if not closed:
            number = "?"
    else:
        host, _, number = place.partition(":")
    if not separator or not host or any(c.isspace() or not c.isprintable() for c in rest):
        raise InvalidInput(f"sink: {expected}")
    if not number and default_port is not None:
        number = str(default_port)
    if not (number.isascii() and number.isdecimal()) or not (0 if listens else 1) <= int(number[:9]) <= 65535:
        raise InvalidInput(f"sink: {expected}; a port is a number from 1 to 65535")
    name, colon, password = user.partition(":")
    return Address(
        scheme.lower(),
        host,
        int(number),
        path.strip("/"),
        unquote(name) if at else None,
        unquote(password) if colon else None,
        dict(parse_qsl(query, keep_blank_values=True)),
    )
