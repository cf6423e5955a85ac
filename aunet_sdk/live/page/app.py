"""The routes of the page's server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from ...errors import AUNetError
from .access import caller_of
from .guard import Guard, admission
from .hub import Viewer
from .metrics import CONTENT_TYPE, metrics_text
from .notice import choose_language, notice_page

if TYPE_CHECKING:
    from .server import PageServer

__all__ = ["make_app"]

COMMANDS = ("pause", "resume", "calibrate")
COMMAND_S = 10.0
"""so long a viewer waits for a command's end"""
MOST_LOGIN_BYTES = 1024


def make_app(page: PageServer) -> Starlette:
    """The application that serves `page`."""
    static = Path(str(resources.files(__package__).joinpath("static")))
    html = {name: static.joinpath(name).read_text(encoding="utf-8") for name in ("index.html", "login.html")}
    login_page = HTMLResponse(html["login.html"], 401)
    cookie = f"aunet_{page.port}"  # browsers share cookies between the ports of a host
    routes = _Routes(page, html["index.html"], html["login.html"], cookie)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        page.started_in(asyncio.get_running_loop())
        yield
        page.ended_in_loop()
        await asyncio.sleep(0)  # what was aborted ends in the loop's next round

    return Starlette(
        routes=[
            Route("/", routes.index),
            Route("/login", routes.login, methods=["POST"]),
            Route("/notice", routes.notice),
            Route("/healthz", routes.healthz),
            Route("/readyz", routes.readyz),
            Route("/metrics", routes.metrics),
            Route("/session.csv", routes.session),
            WebSocketRoute("/live", routes.live),
            Mount("/static", StaticFiles(directory=static)),
        ],
        middleware=[Middleware(Guard, access=page.access, cookie=cookie, login=login_page)],
        exception_handlers={HTTPException: _plain},
        lifespan=lifespan,
    )


class _Routes:
    def __init__(self, page: PageServer, index: str, login: str, cookie: str) -> None:
        self._page, self._index, self._login, self._cookie = page, index, login, cookie

    async def index(self, request: Request) -> Response:
        return HTMLResponse(self._index)

    async def login(self, request: Request) -> Response:
        access, caller = self._page.access, caller_of(request.scope)
        if not access.failures.allows(caller, take=False):
            return PlainTextResponse("Too many wrong tokens. Wait half a minute.\n", 429, {"retry-after": "30"})
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_LOGIN_BYTES:
                return PlainTextResponse("Too long.\n", 413)
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8) if body.count(b"&") < 8 else {}
        if access.knows(fields.get("token", [""])[0].strip()):
            return admission(access, self._cookie, request.scope)
        access.failures.allows(caller)
        return HTMLResponse(self._login.replace('id="wrong" hidden', 'id="wrong"'), 401)

    async def notice(self, request: Request) -> Response:
        language = choose_language(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        return HTMLResponse(notice_page(self._page.notice, language), headers={"content-language": language})

    async def healthz(self, request: Request) -> Response:
        health = await run_in_threadpool(self._page.health)
        alive = bool(health["alive"])
        return JSONResponse({"alive": alive, "reason": None if alive else health["reason"]}, 200 if alive else 503)

    async def readyz(self, request: Request) -> Response:
        health = await run_in_threadpool(self._page.health)
        return JSONResponse(health, 200 if health["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        page = self._page
        text = metrics_text(page.views, page.hub.viewers, page.pictures.made, page.hub.all_left_out)
        return Response(text, media_type=CONTENT_TYPE)

    async def session(self, request: Request) -> Response:
        table = self._page.session
        if table is None:
            return PlainTextResponse("No face was seen yet: there is no table.\n", 404)
        name = f"aunet-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}.csv"
        rows: Iterator[bytes] = table.read()
        return StreamingResponse(
            rows,
            media_type="text/csv; charset=utf-8",
            headers={
                "content-disposition": f'attachment; filename="{name}"',
                "x-aunet-rows-gone": str(table.rows_gone),
            },
        )

    async def live(self, socket: WebSocket) -> None:
        await self._page.hub.serve(socket, self._page.greeting, self._answer)

    async def _answer(self, viewer: Viewer, message: dict[str, Any]) -> None:
        """To a message from a viewer other than "shown"; what is not understood gets a reply that says so."""
        if message["type"] == "watch":
            self._watch(viewer, message)
            return
        number = message.get("id")
        number = number if isinstance(number, int) and abs(number) < 2**53 else None
        reply: dict[str, Any] = {"type": "reply", "id": number}
        if message["type"] != "command" or message.get("name") not in COMMANDS or self._page.commands is None:
            reply["error"] = f"expected a command ({', '.join(COMMANDS)}), shown or watch"
            viewer.offer(json.dumps(reply))
            return
        arguments = _arguments(message)
        if arguments is None:
            reply["error"] = "expected arguments with the number of a face and the name of a source"
            viewer.offer(json.dumps(reply))
            return
        try:
            done = run_in_threadpool(self._page.commands, message["name"], arguments)
            reply["result"] = dict(await asyncio.wait_for(done, COMMAND_S))
        except AUNetError as error:
            reply["error"] = str(error)
        except asyncio.TimeoutError:
            reply["error"] = f"{message['name']}: no answer within {COMMAND_S:g} s"
        viewer.offer(json.dumps(reply, default=str))

    def _watch(self, viewer: Viewer, message: dict[str, Any]) -> None:
        source, pictures = message.get("source", viewer.source), message.get("pictures", viewer.pictures)
        known = isinstance(source, int) and not isinstance(source, bool) and 0 <= source < len(self._page.views)
        if not known or not isinstance(pictures, bool):
            viewer.offer(
                json.dumps({"type": "reply", "id": None, "error": "watch: expected a source and true or false"})
            )
            return
        moved = source != viewer.source
        viewer.watch(source, pictures)
        for text in self._page.greeting(source) if moved else ():
            viewer.offer(text)


def _arguments(message: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of "calibrate", checked; None where they are wrong."""
    given = message.get("arguments", {})
    if not isinstance(given, dict) or set(given) - {"face", "source"}:
        return None
    face, source = given.get("face"), given.get("source")
    if face is not None and (not isinstance(face, int) or isinstance(face, bool) or not 0 <= face < 2**53):
        return None
    if source is not None and (not isinstance(source, str) or len(source) > 1000):
        return None
    return dict(given)


async def _plain(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return PlainTextResponse("Not found.\n" if code == 404 else "Not possible.\n", code)
