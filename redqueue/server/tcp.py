"""Listening sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import cast

from redqueue.protocol.replies import TOO_MANY_CONNECTIONS
from redqueue.server.acceptor import Acceptor
from redqueue.server.binding import bind_tcp, bind_unix, shown_address
from redqueue.server.connection import Connection, Connections, origin_of
from redqueue.server.tls import MOST_HANDSHAKES, SHUTDOWN_SECONDS, Certificates, reason_of

log = logging.getLogger(__name__)

BACKLOG = 1024
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Seconds of silence before the first probe, between probes, and how many go unanswered."""


class Listeners:
    """The listening sockets of the server.

    :param factory: makes the protocol object of a new connection, of its origin
    :param connections: all connections
    :param send_timeout: seconds for which a client may leave what it is sent; 0 for as long as the kernel says
    :param handshake_timeout: seconds that a TLS handshake may take

    :ivar addresses: where clients are accepted
    :ivar encrypted: those of them where TLS is spoken
    :ivar failed_handshakes: clients with whom TLS came to nothing
    """

    def __init__(
        self,
        factory: Callable[[str], Connection],
        connections: Connections,
        send_timeout: float = 0.0,
        handshake_timeout: float = 10.0,
    ) -> None:
        self._factory = factory
        self._connections = connections
        self._send_timeout = send_timeout
        self._sockets: list[tuple[socket.socket, Certificates | None]] = []
        self._acceptors: list[Acceptor] = []
        self._handshake_timeout = handshake_timeout
        self._opening: set[asyncio.Task[None]] = set()
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._unix_path: Path | None = None
        self.addresses: list[str] = []
        self.encrypted: list[str] = []
        self.failed_handshakes = 0

    def bind_tcp(self, host: str, port: int, tls: Certificates | None = None) -> None:
        """Take the port on every address of ``host``, without listening.

        :param port: 0 for any free one
        :param tls: what to speak TLS with; None for plain text
        :raises OSError: where that fails
        """
        self._add(bind_tcp(host, port), tls)

    def bind_unix(self, path: Path) -> None:
        """Make a Unix socket, without listening; the file that a dead server has left behind is replaced.

        :raises OSError: where that fails
        """
        self._add([bind_unix(path)], None)
        self._unix_path = path

    def adopt(self, sockets: Iterable[socket.socket], tls: Certificates | None = None) -> None:
        """Take sockets over that somebody else has bound and keeps.

        :param tls: what to speak TLS with, but for Unix sockets; None for plain text
        """
        self._add(sockets, tls)

    def _add(self, sockets: Iterable[socket.socket], tls: Certificates | None) -> None:
        for sock in sockets:
            self.addresses.append(shown_address(sock))
            if sock.family == socket.AF_UNIX:
                self._sockets.append((sock, None))
            else:
                self._sockets.append((sock, tls))
                if tls is not None:
                    self.encrypted.append(self.addresses[-1])

    def listen(self) -> None:
        """Let clients in.

        :raises OSError: where that fails
        """
        for (sock, tls), address in zip(self._sockets, self.addresses, strict=True):
            try:
                sock.listen(BACKLOG)
            except OSError as error:
                raise OSError(error.errno, f"{address}: {error.strerror}") from None
            self._accept(sock, tls)

    @property
    def is_waiting(self) -> bool:
        """Whether clients are left waiting because the system has no room for them."""
        return any(acceptor.is_waiting for acceptor in self._acceptors)

    @property
    def waits(self) -> int:
        """How often that has begun."""
        return sum(acceptor.waits for acceptor in self._acceptors)

    def close(self) -> None:
        """Accept nobody any more."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        for task in self._handshakes:
            task.cancel()
        if self._unix_path is not None:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # root made it, and we are no longer root
                os.unlink(self._unix_path)
            self._unix_path = None

    def _accept(self, sock: socket.socket, tls: Certificates | None = None) -> None:
        """Accept the connections of a listening socket; what is set for it holds for them, too (tcp(7))."""
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self._send_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._send_timeout * 1000))
        self._acceptors.append(Acceptor(sock, self._take if tls is None else partial(self._take_encrypted, tls)))

    def _take(self, sock: socket.socket, peer: object) -> None:
        origin = origin_of(peer)
        if not self._connections.enter(origin):
            refuse(sock)
            return
        task = asyncio.get_running_loop().create_task(self._open(sock, origin))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, origin: str) -> None:
        connection = self._factory(origin)
        factory = cast(Callable[[], asyncio.BaseProtocol], lambda: connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(factory, sock)
        except Exception as error:
            log.warning(
                "a connection ended before it began: %s",
                error,
                extra={"repeats": "connections that ended before they began", "fields": {"origin": origin}},
            )
            if connection.number == 0:
                self._connections.leave(origin)

    def _take_encrypted(self, tls: Certificates, sock: socket.socket, peer: object) -> None:
        origin = origin_of(peer)
        if not self._connections.enter(origin):
            sock.close()
            return
        if len(self._handshakes) >= MOST_HANDSHAKES:
            next(iter(self._handshakes)).cancel()
        task = asyncio.get_running_loop().create_task(self._open_encrypted(tls, sock, origin, peer))
        self._handshakes[task] = None
        task.add_done_callback(self._handshakes.pop)

    async def _open_encrypted(self, tls: Certificates, sock: socket.socket, origin: str, peer: object) -> None:
        connection = self._factory(origin)
        factory = cast(Callable[[], asyncio.BaseProtocol], lambda: connection)
        loop = asyncio.get_running_loop()
        limits = {"ssl_handshake_timeout": self._handshake_timeout}
        if sys.version_info >= (3, 11):
            limits["ssl_shutdown_timeout"] = SHUTDOWN_SECONDS
        try:
            await loop.connect_accepted_socket(factory, sock, ssl=tls.context, **limits)
        except Exception as error:
            self.failed_handshakes += 1
            shown = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
            extra = {"repeats": "TLS handshakes failed", "fields": {"peer": shown}}
            log.warning("TLS handshake failed: %s", reason_of(error), extra=extra)
        finally:
            if connection.number == 0:
                self._connections.leave(origin)


def refuse(sock: socket.socket) -> None:
    """Say to a client that there are too many, and close the connection at once: others need the descriptor."""
    with contextlib.suppress(OSError):
        sock.send(TOO_MANY_CONNECTIONS)
        sock.recv(1 << 16)  # what is left unread makes a reset of the end, which may take the reply with it
    sock.close()
