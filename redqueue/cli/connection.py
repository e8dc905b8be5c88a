"""A connection of the command line to a running server: addresses, lines, answers, and what goes wrong in words."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from redqueue.cli.command import CommandFailed
from redqueue.cli.notation import show

DEFAULT_PORT = 12345
RELATIVE = 30 * 86400
"""Longer times to live are sent as moments (memcached's rule)."""
_RECEIVED = 256 << 10
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    :ivar path: of a Unix socket; then there is neither host nor port
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """An address as it is written behind ``--server``.

        :raises CommandFailed: where it is none
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if path:
                return cls(path=path)
        elif match := _ADDRESS.fullmatch(text):
            port = int(match["port"] or DEFAULT_PORT)
            if 0 < port < 65536:
                return cls(match["six"] or match["host"], port)
        raise CommandFailed(f"{text!r} is no server; write HOST:PORT, [IPv6]:PORT or unix:PATH")

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConnectionLost(CommandFailed):
    """The server does not answer any more."""


class Refused(CommandFailed):
    """The server has answered that it will not.

    :ivar reply: what it has answered, without the line's end
    """

    def __init__(self, reply: bytes) -> None:
        hint = "; --user says who asks" if reply.endswith(b"unauthenticated") else ""
        super().__init__(f"the server says: {show(reply)}{hint}")
        self.reply = reply


@dataclass(frozen=True)
class Answer:
    """The answer to a meta command.

    :ivar code: HD, VA, EN, NS, NF, EX or MN
    :ivar flags: the text behind each flag's letter
    :ivar payload: what came with VA
    """

    code: bytes
    flags: dict[bytes, bytes]
    payload: bytes = b""

    def number(self, letter: bytes) -> int:
        """The number behind a flag's letter."""
        return int(self.flags[letter])


_CODES = frozenset((b"HD", b"VA", b"EN", b"NS", b"NF", b"EX", b"MN"))


class Connection:
    """One connection, in lines and payloads. It blocks.

    :param timeout: seconds to wait for the server before it is taken for lost
    :param tls: None for a plain connection
    :raises ConnectionLost: also from every method, where the server cannot be reached or is gone
    """

    def __init__(self, address: Address, *, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.timeout = timeout
        self._buffer = bytearray()
        self._at = 0
        self._socket = self._open(tls)

    def _open(self, tls: ssl.SSLContext | None) -> socket.socket:
        address = self.address
        try:
            if address.path:
                sock = socket.socket(socket.AF_UNIX)
                sock.settimeout(self.timeout)
                sock.connect(address.path)
            else:
                sock = socket.create_connection((address.host, address.port), self.timeout)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock if tls is None else tls.wrap_socket(sock, server_hostname=address.host or None)
        except (OSError, UnicodeError) as error:
            raise ConnectionLost(f"cannot connect to {address}: {_reason(error)}") from None

    def close(self) -> None:
        """Close it; what it holds is given back by the server."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Of the socket, for a selector."""
        return self._socket.fileno()

    # -- bytes ----------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from None

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVED)
        except OSError as error:
            raise self._lost(error) from None
        if not data:
            raise ConnectionLost(f"{self.address} has closed the connection")
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def _lost(self, error: OSError) -> ConnectionLost:
        if isinstance(error, TimeoutError):
            return ConnectionLost(f"{self.address} has not answered within {self.timeout:g} s (--timeout)")
        return ConnectionLost(f"the connection to {self.address} is lost: {error.strerror or error}")

    def wait_longer(self, seconds: float) -> None:
        """Give the server so many seconds more than ``timeout`` for its next answers."""
        self._socket.settimeout(self.timeout + seconds)

    def line(self) -> bytes:
        """The next line, without its end."""
        searched = self._at
        while (end := self._buffer.find(b"\r\n", searched)) < 0:
            searched = max(self._at, len(self._buffer) - 1) - self._at
            self._receive()
            searched += self._at
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        while len(self._buffer) - self._at < size:
            self._receive()
        data = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        return data

    def take_if_next(self, data: bytes) -> bool:
        """Read as much as ``data`` has, and take it where it is the same; else leave it there.

        :param data: must not be longer than what the server will send in any case
        """
        while len(self._buffer) - self._at < len(data):
            self._receive()
        if not self._buffer.startswith(data, self._at):
            return False
        self._at += len(data)
        return True

    # -- requests -------------------------------------------------------------

    def ask(self, command: bytes) -> bytes:
        """Send a command line; returns the line of its answer.

        :raises Refused: where that is an error
        """
        self.send(command + b"\r\n")
        return _checked(self.line())

    def answer(self) -> Answer:
        """The next answer to a meta command.

        :raises Refused: where it is an error
        """
        words = _checked(self.line()).split(b" ")
        if words[0] not in _CODES:
            raise ConnectionLost(f"{self.address} is no RedQueue: it answers {show(b' '.join(words))}")
        size = int(words[1]) if words[0] == b"VA" else -1
        flags = {word[:1]: word[1:] for word in words[1 + (size >= 0) :]}
        if size < 0:
            return Answer(words[0], flags)
        payload = self.read(size + 2)
        return Answer(words[0], flags, payload[:-2])

    def stats(self, argument: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Names and values of ``stats``.

        :raises Refused: where the answer is an error
        """
        self.send(b"stats %b\r\n" % argument if argument else b"stats\r\n")
        while (line := _checked(self.line())) != b"END":
            word, _, figure = line.partition(b" ")
            name, _, value = figure.partition(b" ")
            if word != b"STAT":
                raise ConnectionLost(f"{self.address} is no RedQueue: it answers {show(line)}")
            yield name, value

    def exptime(self, seconds: int) -> int:
        """A time to live as requests have it: a long one is a moment on the server's clock."""
        if seconds <= RELATIVE:
            return seconds
        return seconds + int(dict(self.stats(b"server"))[b"time"])


def _checked(line: bytes) -> bytes:
    if line == b"ERROR" or line.startswith((b"CLIENT_ERROR", b"SERVER_ERROR", b"ERROR:")):
        raise Refused(line)
    return line


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the server running? --server names another"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket; is the server running with --unix_socket?"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; --ca-file names who signs it"
    if isinstance(error, (ssl.SSLError, ConnectionResetError)):
        return f"no TLS there, or none that fits: {error.strerror or error}"
    return str(getattr(error, "strerror", None) or error)
