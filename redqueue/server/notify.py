"""Messages to the service manager: systemd's sd_notify(3) protocol, datagrams of ``NAME=value`` lines."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager how the server is.

    :param address: of its socket: a path, or ``@`` and an abstract name; empty where nobody listens
    :param watchdog_seconds: how often it wants to hear of us at least; 0 for not at all

    :raises ValueError: for an address of another form
    """

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        if address and address[0] not in "/@":
            raise ValueError(f"wants a path or @ and a name, not {address!r}")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)  # a manager that does not read must not stop the loop
        self._status = ""
        self._complained = False
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """What ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say; they are taken out of it.

        :raises ValueError: where they make no sense; the message begins with the name of the variable
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        period = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", "")
        seconds = 0.0
        if period and watched in ("", str(os.getpid())):
            if not (period.isascii() and period.isdigit() and int(period)):
                raise ValueError(f"WATCHDOG_USEC wants a number of microseconds, not {period!r}")
            seconds = int(period) / 1e6
        try:
            return cls(address, seconds)
        except ValueError as error:
            raise ValueError(f"NOTIFY_SOCKET {error}") from None

    def __bool__(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def fileno(self) -> int:
        """The descriptor of the socket, -1 where there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def ready(self) -> None:
        """The server serves."""
        self._send(f"READY=1\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` says that it is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The server is about to end."""
        self._status = "ending"
        self._send("STOPPING=1\nSTATUS=ending")

    def status(self, text: str) -> None:
        """How the server is, in words; said again only where it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def extend_timeout(self, seconds: float) -> None:
        """The start goes on, and takes up to so many seconds more."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def keep_alive(self) -> None:
        """The server is alive, for the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            with contextlib.suppress(BlockingIOError):  # it has more than enough of us to read
                self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("the service manager cannot be told how the server is: %s", error)
