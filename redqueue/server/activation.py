"""Sockets that the service manager has bound for us: systemd's sd_listen_fds(3) protocol."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping
from dataclasses import dataclass, field

FIRST = 3
"""The first descriptor that is passed."""
WEB = "web"
TLS = "tls"
_QUEUES = ("memcache", "unix", "unknown", "")
"""Names of sockets for clients of queues; so are those of socket units, which is what systemd writes by default."""


class BadSocket(ValueError):
    """A passed socket that cannot be used; the message says what to write instead."""


@dataclass
class PassedSockets:
    """Listening sockets of this process that somebody else has bound.

    :ivar queues: for clients of queues, TCP and Unix
    :ivar encrypted: for those of them that speak TLS, where the others do not
    :ivar web: for the web page
    """

    queues: list[socket.socket] = field(default_factory=list)
    encrypted: list[socket.socket] = field(default_factory=list)
    web: list[socket.socket] = field(default_factory=list)

    def all(self) -> list[socket.socket]:
        """Every one of them."""
        return self.queues + self.encrypted + self.web


def take_sockets(environment: MutableMapping[str, str], first: int = FIRST) -> PassedSockets:
    """The sockets that ``LISTEN_FDS``, ``LISTEN_PID`` and ``LISTEN_FDNAMES`` speak of; they are taken out of it.

    :param first: number of the first descriptor
    :raises BadSocket: where something else than a listening stream socket was passed, or under an unknown name
    """
    count = environment.pop("LISTEN_FDS", "")
    pid = environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "")
    found = PassedSockets()
    if not count or pid != str(os.getpid()):
        return found  # they were meant for somebody else
    if not (count.isascii() and count.isdigit()):
        raise BadSocket(f"LISTEN_FDS wants a number of sockets, not {count!r}")
    each = names.split(":") if names else [""] * int(count)
    if len(each) != int(count):
        raise BadSocket(f"LISTEN_FDNAMES has {len(each)} names for {count} sockets")
    for fd, name in enumerate(each, first):
        if name == WEB:
            found.web.append(_listening(fd, name))
        elif name == TLS:
            found.encrypted.append(_listening(fd, name))
        elif name in _QUEUES or name.endswith(".socket"):
            found.queues.append(_listening(fd, name))
        else:
            raise BadSocket(
                f"socket {fd} is named {name!r}: write FileDescriptorName=memcache for clients of queues, "
                f"FileDescriptorName={TLS} for those with TLS, FileDescriptorName={WEB} for the web page"
            )
    if not found.queues and not found.encrypted and count != "0":
        raise BadSocket("there is no socket for clients of queues: add one with FileDescriptorName=memcache")
    return found


def _listening(fd: int, name: str) -> socket.socket:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError as error:
        raise BadSocket(f"socket {fd} ({name}) was not passed: {error.strerror}") from None
    if not is_socket:
        raise BadSocket(f"descriptor {fd} ({name}) is no socket")
    sock = socket.socket(fileno=fd)
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise BadSocket(f"socket {fd} ({name}) takes no connections: write ListenStream= in the socket unit")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise BadSocket(f"socket {fd} ({name}) does not listen: write Accept=no in the socket unit")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
