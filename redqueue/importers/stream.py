"""A connection to another queue server, in lines and payloads. It blocks."""

from __future__ import annotations

import socket
import ssl

from redqueue.importers.item import SourceFailed

MOST_LINE = 64 << 10


class Stream:
    """One connection.

    :param timeout: seconds to wait for an answer
    :raises SourceFailed: also from every method, where there is no connection any more
    """

    def __init__(self, host: str, port: int, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self.place = f"{host}:{port}"
        try:
            self._socket: socket.socket = socket.create_connection((host, port), timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except (OSError, UnicodeError) as error:
            raise SourceFailed(f"cannot connect to {self.place}: {error}") from None
        self._file = self._socket.makefile("rb", 256 << 10)

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from None

    def line(self) -> bytes:
        """The next line, without its end."""
        try:
            line: bytes = self._file.readline(MOST_LINE)
        except OSError as error:
            raise self._lost(error) from None
        if not line.endswith(b"\r\n"):
            raise SourceFailed(f"{self.place} has closed the connection, or speaks something else: {line[:60]!r}")
        return line[:-2]

    def payload(self, size: int) -> bytes:
        """So many bytes, and the end of the line behind them."""
        try:
            data: bytes = self._file.read(size + 2)
        except OSError as error:
            raise self._lost(error) from None
        if len(data) != size + 2 or not data.endswith(b"\r\n"):
            raise SourceFailed(f"{self.place} has ended the connection in the middle of an item")
        return data[:-2]

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()

    def _lost(self, error: OSError) -> SourceFailed:
        return SourceFailed(f"the connection to {self.place} is lost: {error}")
