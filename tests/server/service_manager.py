"""The other end of sd_notify(3): a real datagram socket, and what arrives on it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType


class ServiceManager:
    """Receives what a server tells of itself.

    :param address: where: a path, or ``@`` and an abstract name

    :ivar lines: all that has been received, ``NAME=value``
    """

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def receive(self, seconds: float = 20.0) -> list[str]:
        """The lines of the next message.

        :raises TimeoutError: where none comes within ``seconds``
        """
        self._socket.settimeout(seconds)
        lines = self._socket.recv(4096).decode().split("\n")
        self.lines += lines
        return lines

    def receive_until(self, line: str) -> list[str]:
        """Receive until a message has a line that begins so; returns the lines of all up to this one."""
        found: list[str] = []
        while not any(each.startswith(line) for each in found):
            found += self.receive()
        return found

    def take_what_is_there(self) -> list[str]:
        """What has arrived and was not received."""
        found: list[str] = []
        try:
            while True:
                found += self.receive(0.001)
        except TimeoutError:
            return found
