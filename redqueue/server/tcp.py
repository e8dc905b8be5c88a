"""Listening sockets, and the list of who is connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tornado.netutil import bind_sockets, bind_unix_socket

from redqueue.server.connection import Connection

log = logging.getLogger(__name__)

BACKLOG = 1024
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Seconds of silence before the first probe, between probes, and how many go unanswered."""


class Connections:
    """Everybody who is connected.

    :param most: how many may be at a time; 0 for as many as the system gives
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: set[Connection] = set()
        self.total = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections))

    def add(self, connection: Connection) -> bool:
        """Take a new connection in; False where there are too many."""
        if self._most and len(self._connections) >= self._most:
            self.refused += 1
            if self.refused == 1 or self.refused % 1000 == 0:
                log.warning("max_connections=%d reached, %d connections refused so far", self._most, self.refused)
            return False
        self.total += 1
        connection.number = self.total
        self._connections.add(connection)
        return True

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    @staticmethod
    def describe(connection: Connection) -> str:
        """Who is at the other end, for the log."""
        transport = connection._transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "a local client"


class Listeners:
    """The listening sockets of the server.

    :param factory: makes the protocol object of a new connection
    """

    def __init__(self, factory: Callable[[], Connection]) -> None:
        self._factory = factory
        self._servers: list[asyncio.AbstractServer] = []
        self._unix_path: Path | None = None
        self.addresses: list[str] = []

    async def listen_tcp(self, host: str, port: int) -> None:
        """Listen on every address of ``host``.

        :param port: 0 for any free one
        :raises OSError: where that fails
        """
        for sock in bind_sockets(port, host or None, backlog=BACKLOG):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            address = sock.getsockname()
            shown = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.addresses.append(f"{shown}:{address[1]}")
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(self._factory, sock=sock, backlog=BACKLOG))

    async def listen_unix(self, path: Path) -> None:
        """Listen on a Unix socket; a socket file left behind by a dead server is replaced.

        :raises OSError: where that fails
        """
        sock = bind_unix_socket(str(path), mode=0o660, backlog=BACKLOG)
        self._unix_path = path
        self.addresses.append(str(path))
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._factory, sock=sock, backlog=BACKLOG))

    def close(self) -> None:
        """Accept nobody any more."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._unix_path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unix_path)
            self._unix_path = None
