"""Taking in what arrives at a listening socket, also while the system has nothing left for it.

An event loop's own server has no answer to EMFILE and ENFILE that serves here:
asyncio's tries again at once and says so each time, and uvloop's closes the
listening socket without a word, or every client that arrives.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop

log = logging.getLogger(__name__)

AT_ONCE = 1
"""Connections taken in one turn of the loop, so that a storm of them leaves room for those who are connected."""
RETRY_SECONDS = 0.2
"""How long clients are left in the kernel's line when the system has no room for them."""
QUIET_SECONDS = 60.0
"""How long nothing is said of that after something was."""
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor:
    """Accepts the connections of one listening socket.

    :param sock: listening and not blocking; it is the acceptor's from here on
    :param take: called with each new socket, not blocking, and its peer's address; the socket is the callee's

    :ivar is_waiting: whether clients are left waiting because the system has no room for them
    :ivar waits: how often that has begun
    """

    def __init__(self, sock: socket.socket, take: Callable[[socket.socket, Any], None]) -> None:
        self._sock = sock
        self._take = take
        self._loop = IOLoop.current()
        self._timer: object = None
        self._quiet_until = 0.0
        self.is_waiting = False
        self.waits = 0
        self._loop.add_handler(sock.fileno(), self._on_ready, IOLoop.READ)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        else:
            self._loop.remove_handler(self._sock.fileno())
        self._sock.close()

    def _on_ready(self, fd: int, events: int) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._wait(error)
                    return
                continue  # the client has gone meanwhile (accept(2) has the list)
            sock.setblocking(False)
            try:
                self._take(sock, address)
            except Exception:
                log.exception("a new connection could not be taken in")
                sock.close()
        self.is_waiting = False

    def _wait(self, error: OSError) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.waits += 1
            now = time.monotonic()
            if now >= self._quiet_until:
                self._quiet_until = now + QUIET_SECONDS
                log.error(
                    "no new clients can be taken in: %s. They wait until there is room; those who are connected are "
                    "served. Raise the limit of open files (LimitNOFILE=, ulimit -n; fs.file-max for the whole system)",
                    error.strerror,
                )
        self._loop.remove_handler(self._sock.fileno())
        self._timer = self._loop.call_later(RETRY_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._loop.add_handler(self._sock.fileno(), self._on_ready, IOLoop.READ)
