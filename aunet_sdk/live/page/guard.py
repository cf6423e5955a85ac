"""What stands before every route: limits, the token, and the headers that every answer has."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from .access import Access, caller_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "admission"]

OPEN_PATHS = ("/healthz", "/readyz", "/notice", "/login")
"""What tells nothing about anybody, and what lets people in."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with "no-referrer" browsers send a form with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class Guard:
    """An ASGI middleware: nothing reaches `app` that `access` does not let in."""

    def __init__(self, app: ASGIApp, access: Access, cookie: str, login: Response) -> None:
        self._app, self._access, self._cookie, self._login = app, access, cookie, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to what may not come in."""
        headers, caller = Headers(scope=scope), caller_of(scope)
        path, socket = scope["path"], scope["type"] == "websocket"
        if not self._access.good_host(headers.get("host")):
            return PlainTextResponse("This server answers to localhost.\n", 421)
        if not self._access.requests.allows(caller):
            return PlainTextResponse("Too many requests.\n", 429, {"retry-after": "2"})
        if (socket or scope["method"] not in ("GET", "HEAD")) and not self._access.good_origin(
            headers.get("origin"), headers.get("host")
        ):
            return PlainTextResponse("Not from a page of another origin.\n", 403)
        if path in OPEN_PATHS or path.startswith("/static/"):
            return None
        if self._access.admits(_cookie(headers, self._cookie), None):
            return None
        return self._by_token(scope, headers, caller)

    def _by_token(self, scope: Scope, headers: Headers, caller: str) -> Response | None:
        """Somebody without our cookie: a program with the token in a header, or a browser with it in the address."""
        given = headers.get("authorization")
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=8) if scope["path"] == "/" else {}
        token = query.get("token", [None])[0]
        if given is None and token is None:
            return self._login if scope["path"] == "/" else PlainTextResponse("A token is wanted.\n", 401, _ASK)
        if not self._access.failures.allows(caller, take=False):
            return PlainTextResponse("Too many wrong tokens.\n", 429, {"retry-after": "30"})
        if given is not None and self._access.admits(None, given):
            return None
        if token is not None and self._access.knows(token):
            return admission(self._access, self._cookie, scope)
        self._access.failures.allows(caller)
        return PlainTextResponse("Not the token.\n", 401, _ASK)


def admission(access: Access, cookie: str, scope: Scope) -> Response:
    """To the page, with the cookie; the token stays in no address and no history."""
    answer = RedirectResponse("/", 303)
    secure = scope.get("scheme") == "https"
    answer.set_cookie(cookie, access.session, httponly=True, samesite="strict", secure=secure)
    return answer


_ASK = {"www-authenticate": "Bearer"}


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        morsel: Any = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if morsel is None else str(morsel.value)
