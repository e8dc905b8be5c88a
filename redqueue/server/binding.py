"""Sockets that have an address and do not listen yet.

The address is taken at the very start, while the process may still have the
rights for a port below 1024; clients are let in when the journal has been read.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

UNIX_MODE = 0o660
Address = tuple[Any, ...]
"""The address of a TCP socket: host, port, and what IPv6 has besides."""


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """A socket for every address of ``host``.

    :param host: an address or a name; empty for all addresses of the machine
    :param port: 0 for any free one, the same for all of them
    :raises OSError: where that fails, with the address in the message
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            if port == 0 and sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            sock = _bound(family, address, host)
            if sock is not None:
                sockets.append(sock)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    """What ``host`` stands for, each once, IPv4 first."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"{host} is no address of this machine: {error.strerror}") from None
    addresses: list[tuple[socket.AddressFamily, Address]] = [(family, address) for family, _, _, _, address in found]
    return sorted(dict.fromkeys(addresses))


def _bound(family: socket.AddressFamily, address: Address, host: str) -> socket.socket | None:
    """A socket with that address; None where this machine has IPv6 by name only."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # :: and 0.0.0.0 go side by side
        sock.setblocking(False)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL and host == "localhost" and address[0] == "::1":
            return None
        raise OSError(error.errno, f"{_shown(address)}: {_reason(error)}") from None
    return sock


def bind_unix(path: Path) -> socket.socket:
    """A Unix socket; the file that a dead server has left behind is replaced.

    :raises OSError: where that fails: another kind of file is there, or a server that answers
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, f"{path}: is there and is no socket; name another one with --unix_socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise OSError(errno.EADDRINUSE, f"{path}: another server listens on this socket")
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(UNIX_MODE)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{path}: {error.strerror or error}") from None
    return sock


def shown_address(sock: socket.socket) -> str:
    """The address of a socket as one writes it: ``host:port``, ``[host]:port`` or a path."""
    return _shown(sock.getsockname())


def _shown(address: Address | str | bytes) -> str:
    if isinstance(address, tuple):
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    name = os.fsdecode(address)
    return "@" + name[1:] if name.startswith("\0") else name


def _reason(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"{error.strerror}: ports below 1024 are root's; start it as root with --user, or by a socket unit"
    return error.strerror or str(error)
