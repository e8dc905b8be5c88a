"""Everybody who is connected and has not authenticated yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from redqueue.access.roles import User
from redqueue.server.tls import common_name

if TYPE_CHECKING:
    from redqueue.server.connection import Connection

log = logging.getLogger(__name__)

MOST = 1024
"""Connections that may stand here; one more takes the place of the one that has stood here longest."""
LOOK_SECONDS = 0.5


class Doorway:
    """Lets in those who need not authenticate, and sees off those who do not in time.

    :param seconds: how long a client may take
    :param trusts_unix_socket: whether those on the Unix socket need not
    :param call_later: as the event loop's
    :param monotonic: the time, seconds

    :ivar user_of_certificate: finds the user whose name a client's certificate has; None where certificates name nobody
    :ivar timeouts: clients that took too long
    :ivar crowded_out: clients that had to make room
    """

    def __init__(
        self,
        seconds: float,
        trusts_unix_socket: bool,
        call_later: Callable[[float, Callable[[], None]], object],
        monotonic: Callable[[], float],
    ) -> None:
        self.seconds = seconds
        self.trusts_unix_socket = trusts_unix_socket
        self.user_of_certificate: Callable[[str], User | None] | None = None
        self._call_later = call_later
        self._monotonic = monotonic
        self._standing: dict[Connection, float] = {}
        self._looks = False
        self.timeouts = 0
        self.crowded_out = 0

    def __len__(self) -> int:
        return len(self._standing)

    def meet(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """A connection has begun."""
        session = connection.session
        if session.is_admitted:
            return
        if self.trusts_unix_socket and not isinstance(transport.get_extra_info("peername"), tuple):
            session.become(None)
            return
        if self.user_of_certificate is not None:
            user = self.user_of_certificate(common_name(transport.get_extra_info("peercert")))
            if user is not None:
                session.become(user)
                return
        if len(self._standing) >= MOST:
            self._forget_the_admitted()
        if len(self._standing) >= MOST:
            self.crowded_out += 1
            oldest = next(iter(self._standing))
            del self._standing[oldest]
            oldest.abort()
        self._standing[connection] = self._monotonic() + self.seconds
        self._look_later()

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""
        self._standing.pop(connection, None)

    def _look_later(self) -> None:
        if not self._looks and self._standing:
            self._looks = True
            self._call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looks = False
        self._forget_the_admitted()
        now = self._monotonic()
        for connection, deadline in list(self._standing.items()):
            if now < deadline:
                break
            del self._standing[connection]
            self.timeouts += 1
            extra = {
                "repeats": "connections that did not authenticate in time",
                "fields": {"peer": connection.describe()},
            }
            log.warning("connection closed: it did not authenticate in time", extra=extra)
            connection.close_when_sent()
        self._look_later()

    def _forget_the_admitted(self) -> None:
        for connection in [each for each in self._standing if each.session.is_admitted]:
            del self._standing[connection]
