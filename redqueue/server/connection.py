"""Clients' connections, which move bytes between a socket and a session, and the list of them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterator
from os import write
from typing import Any, Final, cast

from redqueue.protocol.service import Service
from redqueue.protocol.session import COMMIT, MAX_BACKLOG, MAX_OUTPUT, OUTPUT, TURN, Session
from redqueue.server.doorway import Doorway
from redqueue.server.group_commit import GroupCommit

log = logging.getLogger(__name__)

_write: Final = write
LINGER_SECONDS: Final = 1.0
"""How long a client that was told off may take to read why."""
MUCH: Final = 4096
"""Bytes of input that wait behind a stall, above which a client has to wait for its turn as well."""


class Connections:
    """Everybody who is connected, and who may be.

    :param most: how many may be at a time; 0 for any number
    :param most_of_one: how many of them from one address; 0 for any number

    :ivar doorway: meets new connections; None where nobody has to authenticate
    :ivar total: taken in since the start or the last ``stats reset``
    :ivar refused: turned away since then
    :ivar idle_kicks: closed since then because they had nothing to do (memcached's name)
    :ivar command_timeouts: closed since then because a command took too long to arrive
    """

    def __init__(self, most: int = 0, most_of_one: int = 0) -> None:
        self.most = most
        self.most_of_one = most_of_one
        self._connections: set[Connection] = set()
        self.doorway: Doorway | None = None
        self._entered = 0
        self._by_address: dict[str, int] = {}
        self._last_number = 0
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.total = len(self)
        self.refused = self.idle_kicks = self.command_timeouts = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections))

    def enter(self, address: str) -> bool:
        """Give a client a place, which :meth:`leave` or the end of its connection frees; False where there is none.

        :param address: as :func:`origin_of` gives it
        """
        if self.most and self._entered >= self.most:
            self._refuse(f"max_connections={self.most} reached")
            return False
        if self.most_of_one and address:
            here = self._by_address.get(address, 0)
            if here >= self.most_of_one:
                self._refuse(f"max_connections_per_address={self.most_of_one} reached by {address}")
                return False
            self._by_address[address] = here + 1
        self._entered += 1
        return True

    def leave(self, address: str) -> None:
        """A place is free again."""
        self._entered -= 1
        here = self._by_address.pop(address, 0) - 1
        if here > 0:
            self._by_address[address] = here

    def _refuse(self, why: str) -> None:
        self.refused += 1
        log.warning(
            "%s: the connection is refused; %d refused so far",
            why,
            self.refused,
            extra={"repeats": "connections refused"},
        )

    def add(self, connection: Connection) -> None:
        """A connection has begun."""
        self.total += 1
        self._last_number += 1
        connection.number = self._last_number
        self._connections.add(connection)

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        if connection in self._connections:
            self._connections.discard(connection)
            self.leave(connection.origin)
            if self.doorway is not None:
                self.doorway.leave(connection)


class Connection:
    """A connection on the loop: an asyncio.Protocol in all but inheritance, which would keep it from being compiled.

    :param service: what all sessions share
    :param commit: sends the replies once they are true
    :param registry: all connections
    :param origin: where it comes from, as :func:`origin_of` gives it

    :ivar idle_since: when it was first seen to be idle, monotonic seconds
    :ivar piece: what was seen to have arrived in part, and is not whole yet
    :ivar piece_ends: when that must have arrived
    """

    __slots__ = (
        "_commit",
        "_fd",
        "_held",
        "_is_encrypted",
        "_lingering",
        "_read_paused",
        "_registry",
        "_socket_fd",
        "_transport",
        "_write_paused",
        "data_received",
        "idle_since",
        "number",
        "origin",
        "piece",
        "piece_ends",
        "session",
    )

    def __init__(self, service: Service, commit: GroupCommit, registry: Connections, origin: str = "") -> None:
        self.session = session = Session(service, self)
        self.data_received: Callable[[bytes], None] = session.receive
        self._commit = commit
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._held: list[bytes] | None = None
        self._fd = self._socket_fd = -1
        self._read_paused = False
        self._write_paused = False
        self._lingering = False
        self._is_encrypted = False
        self.origin = origin
        self.number = 0
        self.idle_since = 0.0
        self.piece: object | None = None
        self.piece_ends = 0.0

    def describe(self) -> str:
        """Who is at the other end, for the log."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "a local client"

    # -- from the transport -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_OUTPUT)
        sock = transport.get_extra_info("socket")
        self._is_encrypted = transport.get_extra_info("sslcontext") is not None
        if sock is not None and not self._is_encrypted:
            self._fd = self._socket_fd = sock.fileno()
        self.session.is_local = is_local(transport.get_extra_info("peername"))
        self.session.peer = self.origin
        self._registry.add(self)
        if self._registry.doorway is not None:
            self._registry.doorway.meet(self, transport)

    def eof_received(self) -> bool:
        self.session.finish()
        self.session.announce()
        return not self._lingering and not self._is_encrypted  # TLS cannot be half closed here

    def pause_writing(self) -> None:
        self._write_paused = True
        if self.session.stalled in (0, TURN):
            self.session.stalled = OUTPUT

    def resume_writing(self) -> None:
        self._write_paused = False
        self.session.announce()

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.remove(self)
        self._transport = None
        self._fd = self._socket_fd = -1
        self.session.close()
        self.data_received = _ignore  # the session and its owner would keep each other alive

    # -- from the session (redqueue.protocol.session.Owner) -------------------------

    def pause_input(self) -> None:
        if not self._read_paused and self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()

    def pause_input_until_commit(self) -> None:
        self.pause_input()
        self._commit.resume_later(self)

    # -- from the group commit -----------------------------------------------------

    def hold_output(self) -> None:
        self.session.announced = False
        self._held = self.session.take_output()

    def release_output(self) -> int:
        held, self._held = self._held, None
        if self.session.stalled or self.session.closing:
            self.session.announce()
        return self._send(held) if held else 0

    def send_output(self) -> int:
        session = self.session
        session.announced = False
        out = session.out
        sent = 0
        if out:
            session.out = []
            session.out_bytes = 0
            sent = self._send(out)
        if session.stalled or session.closing:
            self._go_on()
        return sent

    def _send(self, replies: list[bytes]) -> int:
        """Send replies, now as far as the socket takes them; returns their bytes."""
        data = replies[0] if len(replies) == 1 else b"".join(replies)
        # Most replies fit into the socket's buffer, and the transport's own write takes twice as long.
        try:
            sent = _write(self._fd, data)
        except OSError:
            sent = 0  # full, or broken, which the transport finds out and reports
        if sent < len(data):
            self._write_buffered(data[sent:])
        return len(data)

    def resume_input(self) -> None:
        if self._read_paused and self._transport is not None and self.session.backlog_size <= MAX_BACKLOG:
            self._read_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- from the server, at its end ---------------------------------------------------

    def end_input(self) -> None:
        """Read no more; what has been asked is answered, a waiting get with a miss."""
        self.pause_input()
        self.session.finish()
        self.session.announce()

    @property
    def is_read(self) -> bool:
        """Whether what the client sends is read."""
        return not self._read_paused

    def close_when_sent(self) -> None:
        """Close once the client has taken its replies."""
        if self._transport is not None:
            self._transport.close()

    # -- inside ----------------------------------------------------------------------

    def _write_buffered(self, data: bytes) -> None:
        """Have the transport send ``data``, behind what it still has to send.

        Until that is gone there is no writing past it: the descriptor is -1.
        """
        transport = self._transport
        if transport is not None:
            transport.write(data)
            self._fd = -1 if transport.get_write_buffer_size() else self._socket_fd

    def _go_on(self) -> None:
        """The replies so far are sent: carry on with a stalled session, or close one that is done."""
        session = self.session
        if session.closing:
            self._close()
        elif session.stalled not in (COMMIT, OUTPUT) or self._write_paused:
            return
        elif session.stalled == OUTPUT or session.backlog_size > MUCH:
            session.wait_for_turn(b"")
        else:
            session.resume()
            self.resume_input()
            if session.out or session.stalled or session.closing:
                self.session.announce()

    def _close(self) -> None:
        transport = self._transport
        if transport is None or self._lingering:
            return
        complaint = self.session.complaint
        if complaint:
            extra = {"repeats": f"connections closed: {complaint}", "fields": {"peer": self.describe()}}
            log.warning("connection closed: %s", complaint, extra=extra)
        if complaint and not self.session.eof and transport.can_write_eof():
            # Closing now would reset the connection and take the reply with it.
            self._lingering = True
            transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)
        else:
            transport.close()


def origin_of(peer: object) -> str:
    """Where a client comes from: its IPv4 address, its IPv6 network (64 bits), nothing for a Unix socket."""
    if not isinstance(peer, tuple):
        return ""
    address = _address(peer)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64)) + "/64"


def _address(peer: tuple[Any, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_local(peer: object) -> bool:
    """Whether the other end, as a socket names it, is on this machine: over loopback or a Unix socket."""
    if not isinstance(peer, tuple):
        return isinstance(peer, (str, bytes))  # a Unix socket, mostly without a name
    return _address(peer).is_loopback


def _ignore(data: bytes) -> None:
    """What comes after the end of a connection."""
