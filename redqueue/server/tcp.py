"""Listening sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from tornado.netutil import bind_sockets, bind_unix_socket

from redqueue.server.connection import Connection

BACKLOG = 1024
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Seconds of silence before the first probe, between probes, and how many go unanswered."""


class Listeners:
    """The listening sockets of the server.

    :param factory: makes the protocol object of a new connection
    """

    def __init__(self, factory: Callable[[], Connection]) -> None:
        self._factory = cast(Callable[[], asyncio.BaseProtocol], factory)
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
