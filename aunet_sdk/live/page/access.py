"""Who may ask the page's server for what: tokens, hosts, origins, and how often."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from ...errors import InvalidInput

__all__ = ["Access", "Rate", "is_loopback"]

SHORTEST_TOKEN = 8
MOST_CALLERS = 1024
"""addresses that are kept account of; the one that was quiet for the longest is forgotten first"""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`, or names itself so."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Rate:
    """A bucket of tokens for every caller: `burst` at once, then `per_s` a second."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by caller: what is left, and when it was

    def allows(self, caller: str, *, take: bool = True) -> bool:
        """Whether one more is allowed. take: it is counted then; False: only looked at."""
        now_s = self._clock()
        left, since_s = self._left.pop(caller, (self._burst, now_s))
        left = min(self._burst, left + max(0.0, now_s - since_s) * self._per_s)
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed and take else left, now_s)
        while len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return allowed


class Access:
    """What a server at `host` lets in.

    Args:
        host: where it listens. Beyond loopback a token is wanted.
        token: at least 8 characters; None: everybody on this machine.
        origins: more origins, such as "https://kiosk.example", from which browsers may connect: where a proxy gives
            the page another name.

    Raises InvalidInput where the token is missing or too short.
    """

    def __init__(self, host: str, token: str | None, origins: Sequence[str] = ()) -> None:
        self._loopback = is_loopback(host)
        if token is None and not self._loopback:
            raise InvalidInput(
                f"page: expected a token for {host}, which other machines can reach, got none; give --token, or serve "
                "on 127.0.0.1"
            )
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise InvalidInput(f"page: expected a token of at least {SHORTEST_TOKEN} characters, got {len(token)}")
        self._token = token
        self._session = secrets.token_urlsafe(32)
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._more_hosts = {_host_of(urlsplit(origin).netloc) for origin in self._origins}
        self.requests = Rate(per_s=20, burst=80)
        self.failures = Rate(per_s=0.2, burst=6)

    @property
    def asks(self) -> bool:
        """Whether a token is wanted."""
        return self._token is not None

    @property
    def session(self) -> str:
        """What the cookie of somebody who knew the token holds; another one with every start of the server."""
        return self._session

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes the same time for every wrong one."""
        return self._token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    def admits(self, cookie: str | None, authorization: str | None) -> bool:
        """Whether a request with this cookie and this header "Authorization" may come in."""
        if self._token is None or (cookie and secrets.compare_digest(cookie.encode(), self._session.encode())):
            return True
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(token.strip())

    def good_host(self, host: str | None) -> bool:
        """Whether the header "Host" may be answered. Without a token it has to name this machine: a page of somebody
        else could have its own name resolved to 127.0.0.1."""
        if self._token is not None:
            return True
        name = _host_of(host or "")
        return is_loopback(name) or name in self._more_hosts

    def good_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a browser may connect from a page of `origin`; programs that are no browsers name none."""
        if origin is None:
            return True
        origin = origin.lower()
        parts = urlsplit(origin)
        own = parts.scheme in ("http", "https") and host is not None and parts.netloc == host.lower()
        return own or origin in self._origins


def caller_of(scope: Mapping[str, object]) -> str:
    """The address that limits are counted by: of IPv6 the network, since one machine has many addresses there."""
    client = scope.get("client")
    host = str(client[0]) if isinstance(client, (tuple, list)) and client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{host}/64", strict=False)) if address.version == 6 else host


def _host_of(netloc: str) -> str:
    """Without the port."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.rpartition(":")[0].lower() if ":" in netloc else netloc.lower()
