"""One connection to the server: requests out, their replies in order, and no waiting that is not asked for.

Requests are sent at once; each names who is to be called with its reply. Whoever
reads, because the socket is readable or because a reply is wanted now, calls
them all in order. Any thread may.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from amqp.exceptions import AccessRefused, ResourceError

ANSWER_SECONDS = 30.0
"""A server that does not answer within this time is lost."""

_READ_SIZE = 1 << 16
_UNAVAILABLE = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""Options of TCP where the system has them: seconds, probes, milliseconds."""


class ServerLost(ConnectionError):
    """The connection is over; whatever was not answered may or may not have happened."""


@dataclass(frozen=True)
class Address:
    """Where the server is, and how to talk to it.

    :ivar user: sent with ``password`` as the first request; empty for none
    :ivar tls: None for plain TCP
    :ivar connect_timeout: seconds for connecting, with TLS and the password
    """

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    tls_name: str = ""
    connect_timeout: float = 5.0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Value:
    """One ``VALUE`` of a reply.

    :ivar token: of the reservation; 0 where there is none
    """

    key: bytes
    token: int
    payload: bytes


@dataclass(frozen=True)
class Reply:
    """The reply to one request.

    :ivar line: its last or only line, without its end
    """

    line: bytes
    values: tuple[Value, ...] = ()


Receiver = Callable[[Reply], None]

_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection:
    """A connection, made.

    :raises OSError: where there is no server
    :raises amqp.exceptions.AccessRefused: where the server does not take the user
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.RLock()
        self._input = bytearray()
        self._values: list[Value] = []
        self._expected: deque[Receiver] = deque()
        self._over = False
        self._complaint = b""
        self._reason = "the connection is closed"
        self._socket = _connect(address)
        _connections.add(self)
        if address.user:
            self._log_in()

    def fileno(self) -> int:
        """The descriptor, for those who wait until there is something to read; -1 once it is closed."""
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether it is over, by whatever side."""
        return self._over

    @property
    def is_answered(self) -> bool:
        """Whether no reply is missing."""
        return not self._expected

    def send(self, requests: bytes, *receivers: Receiver) -> None:
        """Send requests.

        :param receivers: one for each reply that will come, in order
        :raises ServerLost: where the connection is over
        """
        with self._lock:
            self._check_open()
            self._expected.extend(receivers)
            self._write(requests)

    def ask(self, requests: bytes, count: int = 1, seconds: float = ANSWER_SECONDS) -> list[Reply]:
        """Send requests and wait for their replies.

        :param count: how many replies
        :raises ServerLost: where the connection is over, or the answer takes longer than ``seconds``
        """
        replies: list[Reply] = []
        with self._lock:  # all the while, since whoever else read the reply would leave this one waiting
            self.send(requests, *[replies.append] * count)
            deadline = monotonic() + seconds
            while len(replies) < count:
                wait_for([self.fileno()], deadline - monotonic())
                try:
                    self.read()
                except ServerLost:
                    if len(replies) < count:  # else it was the last it had to say
                        raise
                if len(replies) < count and monotonic() >= deadline:
                    self._over = True
                    raise ServerLost(f"{self.address} has not answered for {seconds:g} s")
        return replies

    def read(self) -> None:
        """Read what is there and hand the replies out.

        :raises ServerLost: where the server has closed the connection
        """
        with self._lock:
            self._check_open()
            lost = self._receive()
            while self._expected and (reply := self._next_reply()) is not None:
                self._expected.popleft()(reply)
            if lost:
                self._over = True
                self._reason = lost + (f", after it said: {_text(self._complaint)}" if self._complaint else "")
                raise ServerLost(f"{self.address}: {self._reason}")

    def settle(self) -> None:
        """Wait until all that was sent is answered."""
        with self._lock:
            if not self._over:
                self.ask(b"mn\r\n")

    def close(self) -> None:
        """Close it. The server takes back what was reserved over it."""
        with self._lock:
            self._over = True
            self._expected.clear()
            with contextlib.suppress(OSError):
                self._socket.close()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, without a word to the server."""
        self._lock = threading.RLock()  # a thread of the parent may have held the old one
        self.close()

    def _log_in(self) -> None:
        credentials = f"{self.address.user} {self.address.password}".encode()
        try:
            (reply,) = self.ask(
                b"set auth 0 0 %d\r\n%b\r\n" % (len(credentials), credentials), seconds=self.address.connect_timeout
            )
        except OSError:
            self.close()
            raise
        if reply.line != b"STORED":
            self.close()
            raise AccessRefused(f"{self.address} refuses the user {self.address.user}: {_text(reply.line)}")

    def _check_open(self) -> None:
        if self._over:
            raise ServerLost(f"{self.address}: {self._reason}")

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        deadline = monotonic() + ANSWER_SECONDS
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except _UNAVAILABLE:
                if monotonic() >= deadline:
                    self._over = True
                    raise ServerLost(f"{self.address} has taken nothing for {ANSWER_SECONDS:g} s") from None
                wait_for([self.fileno()], 0.1, to_write=True)
            except OSError as error:
                self._over = True
                raise ServerLost(f"{self.address}: {error}") from error

    def _receive(self) -> str:
        """Read all that is there; returns why that is the end, if it is."""
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except _UNAVAILABLE:
                return ""
            except OSError as error:
                return str(error)
            if not data:
                return "the server has closed the connection"
            self._input += data

    def _next_reply(self) -> Reply | None:
        """The next reply, once all of it is here."""
        while True:
            end = self._input.find(b"\r\n")
            if end < 0:
                return None
            line = bytes(self._input[:end])
            words = line.split()
            if words[:1] not in ([b"VALUE"], [b"VA"]):
                del self._input[: end + 2]
                self._complaint = line if words and words[0].endswith(b"ERROR") else b""
                values, self._values = tuple(self._values), []
                return Reply(line, values)
            is_meta = words[0] == b"VA"
            size = int(words[1 if is_meta else 3])
            if len(self._input) < end + size + 4:
                return None
            payload = bytes(self._input[end + 2 : end + 2 + size])
            del self._input[: end + size + 4]
            if is_meta:
                return Reply(line, (Value(b"", 0, payload),))
            self._values.append(Value(words[1], int(words[4]) if len(words) > 4 else 0, payload))


def check_stored(reply: Reply, size: int) -> None:
    """Raise what a put that was not answered ``STORED`` means.

    :param size: of the item's payload, bytes
    :raises amqp.exceptions.ResourceError: where the server does not take it
    """
    if reply.line == b"STORED":
        return
    if reply.line == b"NOT_STORED":
        raise ResourceError("not stored: the queue is full, or the server takes no items now")
    if reply.line.startswith(b"SERVER_ERROR object too large"):
        raise ResourceError(f"a message of {size} bytes is over the server's --max_item_size")
    raise ResourceError(f"not stored: {_text(reply.line)}")


def _connect(address: Address) -> socket.socket:
    plain = socket.create_connection((address.host, address.port), address.connect_timeout)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        made = address.tls.wrap_socket(plain, server_hostname=address.tls_name) if address.tls else plain
        made.setblocking(False)
    except BaseException:
        plain.close()
        raise
    return made


def wait_for(descriptors: Sequence[int], seconds: float, to_write: bool = False) -> None:
    """Wait until one of the descriptors is readable (or writable), or the time is over."""
    seconds = max(0.0, seconds)
    if not hasattr(select, "poll"):  # under eventlet
        select.select(descriptors, descriptors if to_write else (), (), seconds)
        return
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN | (select.POLLOUT if to_write else 0))
    poller.poll(seconds * 1000)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _forget_all() -> None:
    for connection in list(_connections):
        connection.forget()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    # A child that kept the descriptor would keep its parent's reservations alive after the parent's death.
    os.register_at_fork(after_in_child=_forget_all)
