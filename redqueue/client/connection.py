"""Connections of the plain client: pymemcache makes them, and a pool keeps those that are not in use."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    from pymemcache.client.base import Client as MemcacheClient
except ImportError as error:  # pragma: no cover
    raise ImportError("redqueue.client needs pymemcache: pip install 'redqueue[client]'") from error

from redqueue.client import codec
from redqueue.client.codec import Exchange, ReplyReader, Result, ServerAddress
from redqueue.client.errors import QueueError, ServerUnavailable


class Connection(MemcacheClient):
    """One connection, which logs in whenever it is made.

    :param server: host and port, or the path of a Unix socket
    :param timeout: seconds to connect, and for each reply beyond what the request waits for
    """

    def __init__(
        self, server: ServerAddress, user: str, password: str, tls_context: ssl.SSLContext | None, timeout: float
    ) -> None:
        super().__init__(server, connect_timeout=timeout, timeout=timeout, no_delay=True, tls_context=tls_context)
        self._user, self._password, self._seconds = user, password, timeout
        self._replies = ReplyReader()

    def _connect(self) -> None:
        super()._connect()
        self._replies = ReplyReader()
        if self._user:
            try:
                self._exchange(codec.log_in(self._user, self._password))
            except QueueError:
                self.close()
                raise

    @property
    def is_open(self) -> bool:
        """Whether there is a socket that the server has not closed."""
        if self.sock is None:
            return False
        try:
            self.sock.setblocking(False)
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        self.close()
        return False

    def run(self, exchange: Exchange[Result], *, connect: bool = True) -> Result:
        """Send a request and wait for its reply.

        :param connect: make the connection where there is none
        :raises ServerUnavailable: where the server cannot be reached, or does not answer in time
        """
        try:
            if self.sock is None:
                if not connect:
                    raise ConnectionError("the connection is closed")
                self._connect()
            return self._exchange(exchange)
        except OSError as error:
            self.close()
            raise ServerUnavailable(f"server {self.server}: {error}") from error

    def _exchange(self, exchange: Exchange[Result]) -> Result:
        sock = self.sock
        try:
            sock.settimeout(self._seconds + exchange.wait)
            sock.sendall(exchange.request)
            while (reply := self._replies.next()) is None:
                data = sock.recv(65536)
                if not data:
                    raise ConnectionError("the connection has ended")
                self._replies.feed(data)
        except BaseException:
            self.close()  # the reply may come later, and would be taken for the next one's
            raise
        return exchange.read(reply)


class ConnectionPool:
    """Connections to one server; any thread may use it. The parameters are those of :class:`Connection`.

    :ivar is_closed: whether :meth:`close` was called
    """

    def __init__(
        self, server: ServerAddress, user: str, password: str, tls_context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._arguments = server, user, password, tls_context, timeout
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self.is_closed = False

    def take(self) -> Connection:
        """A connection for one user at a time."""
        while True:
            with self._lock:
                if self.is_closed:
                    raise ServerUnavailable("this client is closed")
                if not self._idle:
                    return Connection(*self._arguments)
                connection = self._idle.pop()
            if connection.is_open:
                return connection

    def give(self, connection: Connection) -> None:
        """The connection is not in use any more."""
        with self._lock:
            if not self.is_closed and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        """A connection for the length of a ``with``."""
        connection = self.take()
        try:
            yield connection
        finally:
            self.give(connection)

    def run(self, exchange: Exchange[Result]) -> Result:
        """Run one exchange on any connection."""
        with self.borrowed() as connection:
            return connection.run(exchange)

    def close(self) -> None:
        """Close those that are idle, and the others when they come back."""
        with self._lock:
            self.is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(OSError):
                connection.close()
