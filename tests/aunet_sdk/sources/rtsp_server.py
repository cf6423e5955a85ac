"""A real RTSP server, GStreamer's, in a process of its own that can be killed, frozen and started again.

As a program: rtsp_server.py PORT LAUNCH [USER PASSWORD], run by the Python that has PyGObject.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

SYSTEM_PYTHON = "/usr/bin/python3"
NEEDS = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
PATTERN = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 ! "
    "x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 pt=96"
)


@functools.cache
def why_not() -> str:
    """Why no server can run here, or an empty string."""
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer\n"
        "Gst.init(None); assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
    )
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False)
    except OSError:
        return f"no {SYSTEM_PYTHON} here"
    return "" if not done.returncode else f"no RTSP server here (apt install {NEEDS})"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RtspServer:
    """Serves `launch` (a pipeline of gst-launch with a payloader pay0) under `url`; started on entering."""

    def __init__(self, launch: str = PATTERN, user: str = "", password: str = "") -> None:
        self.port = free_port()
        who = f"{user}:{password}@" if user else ""
        self.url = f"rtsp://{who}127.0.0.1:{self.port}/live"
        self._command = [SYSTEM_PYTHON, str(Path(__file__).resolve()), str(self.port), launch]
        self._command += [user, password] if user else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it takes connections."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            self._command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """SIGKILL: the system closes its connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def serve(port: str, launch: str, user: str = "", password: str = "") -> None:
    """Serves until it is killed, or its parent is gone."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    if user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string(
                "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
            )[0]
        )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    parent, loop = os.getppid(), GLib.MainLoop()
    GLib.timeout_add(500, lambda: os.getppid() == parent or loop.quit())
    loop.run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
