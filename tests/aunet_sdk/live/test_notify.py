"""sd_notify, read at a real socket."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from aunet_sdk.live.notify import Notifier

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or sys.platform == "win32", reason="no Unix sockets")


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_it(tmp_path: Path, kind: str) -> None:
    if kind == "abstract" and sys.platform != "linux":
        pytest.skip("abstract names are Linux's own")
    address = str(tmp_path / "notify") if kind == "path" else f"@aunet-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + address[1:] if address[0] == "@" else address)
        server.settimeout(5)
        with Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}) as notifier:
            assert notifier.connected and notifier.watchdog_s == 30
            notifier.ready("two\nlines")
            notifier.alive()
            notifier.status("hangs")
            notifier.reloading()
            notifier.stopping()
            heard = [server.recv(1000).decode() for _ in range(5)]
    assert heard[:3] == ["READY=1\nSTATUS=two lines", "WATCHDOG=1", "STATUS=hangs"]
    assert heard[3].startswith("RELOADING=1\nMONOTONIC_USEC=") and heard[4] == "STOPPING=1"


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}):
        with Notifier(environment) as notifier:
            assert not notifier.connected
            notifier.ready()
    with Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "x"}) as notifier:
        notifier.alive()  # nobody listens there
        assert notifier.watchdog_s is None
    with Notifier({"NOTIFY_SOCKET": str(tmp_path / "x"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}) as notifier:
        assert notifier.watchdog_s is None
