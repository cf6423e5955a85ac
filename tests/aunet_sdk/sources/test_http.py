"""MJPEG and files from a real HTTP server."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from aunet_sdk import InvalidInput, SourceLost
from aunet_sdk.sources import LiveSource, SourceOptions, SourceState, open_source

from .clips import noise, write

QUICK = SourceOptions(policy="all", retry_first_s=0.02, retry_most_s=0.05, read_timeout_s=1.0, open_timeout_s=20)


class Server(ThreadingHTTPServer):
    """Answers by path; `stop` ends what it is sending."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Callable[[Handler], None]] = {}
        self.stop = threading.Event()
        self.seen: list[str] = []

    def url(self, path: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("Authorization", ""))
        try:
            self.server.routes[self.path](self)
        except (ConnectionError, BrokenPipeError):
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


def mjpeg(count: int, then: Callable[[Handler], None] | None = None) -> Callable[[Handler], None]:
    """A camera's stream of `count` pictures, and then what `then` does."""

    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for i in range(count):
            jpeg = cv2.imencode(".jpg", noise(i))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            handler.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.01)
        if then is not None:
            then(handler)

    return send


def test_mjpeg_that_breaks_off_or_falls_silent_comes_back(server: Server) -> None:
    attempts = itertools.count()

    def camera(handler: Handler) -> None:
        silent = next(attempts) == 1
        mjpeg(8, (lambda handler: server.stop.wait(20) and None) if silent else None)(handler)

    server.routes["/video.mjpg"] = camera
    with open_source(server.url("/video.mjpg"), QUICK) as source:
        assert isinstance(source, LiveSource) and source.live
        frames = list(itertools.islice(source, 20))
        now_s = time.monotonic()
    segments = [frame.segment for frame in frames]
    assert segments == sorted(segments) and set(segments) == {0, 1, 2}
    times = [frame.timestamp_s for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(times)) and now_s - 60 < times[0] and times[-1] <= now_s
    assert frames[0].image.shape == (48, 64, 3)


def test_a_password_goes_to_the_server_and_nowhere_else(server: Server) -> None:
    def guarded(handler: Handler) -> None:
        if handler.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:se/cret").decode():
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="cam"')
            handler.end_headers()
            return
        mjpeg(50)(handler)

    server.routes["/a?token=t0ken"] = guarded
    url = server.url("/a?token=t0ken", "me:se/cret@")
    with open_source(url, QUICK) as source:
        assert isinstance(source, LiveSource)
        next(iter(source))
        assert "secret" not in source.name and "t0ken" not in source.name and "***@127.0.0.1" in source.name
    with pytest.raises(SourceLost, match=r"not accepted, or is missing \(401\)") as caught:
        open_source(url.replace("se/cret", "other"), QUICK)
    assert "other" not in str(caught.value) and "t0ken" not in str(caught.value)


def test_a_file_behind_a_url_has_an_end(server: Server, tmp_path: Path) -> None:
    content = write(tmp_path / "a.mkv", "H264", 20).read_bytes()

    def whole(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])

    server.routes |= {"/a.mkv": whole, "/cut.mkv": half}
    with open_source(server.url("/a.mkv"), QUICK) as source:
        assert isinstance(source, LiveSource) and not source.live
        assert [round(frame.timestamp_s, 3) for frame in source] == [round(i / 20, 3) for i in range(20)]
        assert source.state is SourceState.CLOSED
    long = write(tmp_path / "b.mkv", "H264", 100).read_bytes()
    content = long
    got = 0
    with open_source(server.url("/cut.mkv"), QUICK) as source, pytest.raises(SourceLost, match=r"broke off at|lost"):
        for _ in source:
            got += 1
    assert 10 < got < 90


def test_what_is_no_video(server: Server) -> None:
    def page(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"<html>no video here</html>" * 50)

    def other(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "file:///etc/hostname")
        handler.end_headers()

    server.routes |= {"/": page, "/redirected": other}
    for path in ("/", "/redirected"):
        with pytest.raises((SourceLost, InvalidInput)):
            open_source(server.url(path), QUICK)
