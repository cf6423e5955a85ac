"""Tells systemd how the service is doing (sd_notify): ready, alive, reloading, stopping, and a line of status.

Outside systemd, where NOTIFY_SOCKET is not set, nothing happens.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from types import TracebackType

__all__ = ["Notifier"]

log = logging.getLogger(__name__)


class Notifier:
    """The service's side of the protocol of sd_notify(3). May be used from one thread.

    environment: None: that of this process. `watchdog_s` is how long systemd waits for a sign of life before it
    restarts the service; None where it does not watch, or watches another process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self.watchdog_s: float | None = None
        self._socket: socket.socket | None = None
        address = given.get("NOTIFY_SOCKET", "")
        if not address or not hasattr(socket, "AF_UNIX"):
            return
        if address[0] not in "/@":
            log.warning(
                "NOTIFY_SOCKET: expected an absolute path or an abstract name, got %s; systemd hears nothing", address
            )
            return
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        self._socket.setblocking(False)
        if given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            try:
                self.watchdog_s = int(given["WATCHDOG_USEC"]) / 1e6
            except (KeyError, ValueError):
                pass

    @property
    def connected(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """The service has begun; also after a reload."""
        self._send("READY=1", status)

    def alive(self, status: str = "") -> None:
        """A sign of life, wanted at least twice in `watchdog_s`."""
        self._send("WATCHDOG=1", status)

    def status(self, status: str) -> None:
        """The line of `systemctl status` alone, such as the reason why there is no sign of life."""
        self._send("", status)

    def reloading(self) -> None:
        """The configuration is read again; `ready` says that it is done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def _send(self, message: str, status: str = "") -> None:
        if self._socket is None:
            return
        line = " ".join(status.split())
        text = "\n".join(part for part in (message, f"STATUS={line}" if line else "") if part)
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:  # systemd restarts, or its queue is full: the next sign of life comes soon
            log.debug("sd_notify: %s", error)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Notifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
