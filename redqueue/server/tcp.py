"""Listening sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from redqueue.server.binding import bind_tcp, bind_unix, shown_address
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
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._unix_path: Path | None = None
        self.addresses: list[str] = []

    def bind_tcp(self, host: str, port: int) -> None:
        """Take the port on every address of ``host``, without listening.

        :param port: 0 for any free one
        :raises OSError: where that fails
        """
        self._add(bind_tcp(host, port))

    def bind_unix(self, path: Path) -> None:
        """Make a Unix socket, without listening; the file that a dead server has left behind is replaced.

        :raises OSError: where that fails
        """
        self._add([bind_unix(path)])
        self._unix_path = path

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Take sockets over that somebody else has bound and keeps."""
        self._add(sockets)

    def _add(self, sockets: Iterable[socket.socket]) -> None:
        for sock in sockets:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # those that it accepts inherit this
                for name, value in _KEEPALIVE:
                    if hasattr(socket, name):
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self._sockets.append(sock)
            self.addresses.append(shown_address(sock))

    async def listen(self) -> None:
        """Let clients in.

        :raises OSError: where that fails
        """
        loop = asyncio.get_running_loop()
        for sock, address in zip(self._sockets, self.addresses, strict=True):
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            try:
                self._servers.append(await create(self._factory, sock=sock, backlog=BACKLOG))
            except OSError as error:
                raise OSError(error.errno, f"{address}: {os.strerror(error.errno or 0)}") from None

    def close(self) -> None:
        """Accept nobody any more."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._unix_path is not None:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # root made it, and we are no longer root
                os.unlink(self._unix_path)
            self._unix_path = None
