"""The transport: one command connection, the channels, and the event loop they may have."""

from __future__ import annotations

import contextlib
import logging
import ssl
import sys
import threading
import weakref
from collections.abc import Mapping
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.exceptions import ConnectionError as AMQPConnectionError
from kombu.transport import virtual

from redqueue import __version__
from redqueue.contrib.kombu.bindings import Bindings
from redqueue.contrib.kombu.channel import WAIT, Channel
from redqueue.contrib.kombu.names import Names
from redqueue.contrib.kombu.routing import Traits
from redqueue.contrib.kombu.wire import Address, Connection, wait_for

DEFAULT_PORT = 12345
_GRACE = 1.0
"""Seconds that the answer may take to a get whose waiting time is over."""
_LOOK_AFTER_SECONDS = 1.0
_KEEPER_SECONDS = 0.5
_TLS_OPTIONS = ("ca_certs", "certfile", "cert_reqs", "check_hostname", "keyfile", "server_hostname")

logger = logging.getLogger("redqueue.contrib.kombu")


class Transport(virtual.Transport):
    """RedQueue as a broker of kombu's."""

    Channel = Channel
    default_port = DEFAULT_PORT
    driver_type = "redqueue"
    driver_name = "redqueue"
    polling_interval = None
    connection_errors = (AMQPConnectionError, OSError)
    recoverable_connection_errors = (AMQPConnectionError, OSError)
    channel_errors = (ChannelError,)
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    command: Connection

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.names = Names(client.virtual_host or "")
        self.bindings = Bindings(self.names)
        self.declared: dict[str, Traits] = {}
        self._loop: Any = None
        self._timer: Any = None
        self._watched: dict[int, Connection] = {}
        self._keeper: Keeper | None = None
        self._keeps = False

    def driver_version(self) -> str:
        """RedQueue's own."""
        return __version__

    # -- connections ------------------------------------------------------------

    def connect(self) -> Connection:
        """Another connection to the server.

        :raises OSError: where there is none
        """
        return Connection(address_of(self.client))

    def establish_connection(self) -> Transport:
        """Connect."""
        if self.channels:
            self.close_connection(self)  # they are of a connection that is over
        self.names = Names(self.client.virtual_host or "")
        self.bindings = Bindings(self.names)
        self.command = self.connect()
        connection: Transport = super().establish_connection()
        return connection

    def close_connection(self, connection: Transport) -> None:
        """Close all channels and connections."""
        self._leave_loop()
        if self._keeper is not None:
            self._keeper.stop()
        self._keeper, self._keeps = None, False
        super().close_connection(connection)
        with contextlib.suppress(OSError):
            self.command.settle()  # what was sent without waiting for the answer
        self.command.close()
        self.declared.clear()
        self.state.clear()  # another server may know nothing of it

    def verify_connection(self, connection: Transport) -> bool:
        """Whether the connection still stands."""
        lines = [line for channel in self.channels if (line := channel.line) is not None]
        return not any(each.is_closed for each in (self.command, *lines))

    # -- without an event loop --------------------------------------------------

    def drain_events(self, connection: Transport, timeout: float | None = None, **options: Any) -> None:
        """Deliver one message, of whichever channel.

        :param timeout: seconds to wait for one
        :raises TimeoutError: when they are over
        """
        deadline = None if timeout is None else monotonic() + timeout
        asks = True
        while True:
            if any(channel.deliver() for channel in list(self.channels)):
                return
            left = WAIT if deadline is None else max(0.0, deadline - monotonic())
            if asks:
                for channel in list(self.channels):
                    if not channel.is_checking:  # a get that waits on when this returns may get what nobody reads
                        channel.ask(left)
            asks = left > 0
            if deadline is not None and not left:
                now = monotonic()
                if now > deadline + _GRACE or not any(channel.is_answered_by(now) for channel in self.channels):
                    raise TimeoutError
            lines = [line for channel in self.channels if (line := channel.line) is not None]
            wait_for([self.command.fileno(), *[line.fileno() for line in lines]], left or _GRACE)
            self.command.read()
            for line in lines:
                line.read()
            self._look_after()

    # -- with an event loop -----------------------------------------------------

    def register_with_event_loop(self, connection: Transport, loop: Any) -> None:
        """Have the event loop of the worker look after all sockets, and after what is held."""
        self._leave_loop()
        self._loop = loop
        self._watch(self.command)
        loop.on_tick.add(self._on_tick)
        self._timer = loop.call_repeatedly(_LOOK_AFTER_SECONDS, self._look_after)

    def unregister_from_event_loop(self, connection: Transport, loop: Any) -> None:
        """Take all sockets out of the event loop."""
        self._leave_loop()

    def stop_watching(self, connection: Connection) -> None:
        """A connection is going to be closed."""
        descriptor = connection.fileno()
        if self._watched.pop(descriptor, None) is not None:
            entry = self._loop.readers.get(descriptor)
            if entry is not None and entry[0] == self._on_readable:  # not somebody else's after the loop was reset
                self._loop.remove_reader(descriptor)

    def _watch(self, connection: Connection) -> None:
        descriptor = connection.fileno()
        if self._watched.get(descriptor) is not connection:
            self._watched[descriptor] = connection
            self._loop.add_reader(descriptor, self._on_readable, descriptor)

    def _leave_loop(self) -> None:
        if self._loop is None:
            return
        for connection in list(self._watched.values()):
            self.stop_watching(connection)
        self._loop.on_tick.discard(self._on_tick)
        self._timer.cancel()
        self._loop = self._timer = None

    def _on_tick(self) -> None:
        """Ask for messages, before the loop waits."""
        for channel in list(self.channels):
            channel.ask(WAIT)
            if channel.line is not None:
                self._watch(channel.line)

    def _on_readable(self, descriptor: int) -> None:
        """Deliver what has come: here and not in a tick, where the loop has looked at its timers already."""
        self._watched[descriptor].read()
        for channel in list(self.channels):
            while channel.deliver():
                pass

    # -- what is held -------------------------------------------------------------

    def keep_touching(self, *, beyond_the_loop: bool = False) -> None:
        """Something is held from here on.

        The timers of the event loop do for the worker whose tasks run in child
        processes. In all others a task may keep the loop from them, so there a
        thread looks after what is held.

        :param beyond_the_loop: whether the loop may end before what is held is done with
        """
        if self._keeper is None and (beyond_the_loop or not self._keeps):
            self._keeps = True
            if beyond_the_loop or self._loop is None or not _has_children():
                self._keeper = Keeper(self)
                self._keeper.start()

    def touch(self) -> None:
        """Give all that is held another deadline, where the last one has less than two thirds left."""
        now = monotonic()
        for channel in list(self.channels):
            if now >= channel.touch_at:
                channel.touch(now)

    def _look_after(self) -> None:
        """What has to be done now and then.

        :raises ServerLost: where an answer is overdue
        """
        self.touch()
        self.bindings.renew(self.command)
        for channel in list(self.channels):
            channel.check_answer()


class Keeper(threading.Thread):
    """Touches what a transport holds, as long as it is there."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(name="redqueue-keeper", daemon=True)
        self._transport = weakref.ref(transport)
        self._end = threading.Event()

    def stop(self) -> None:
        """End it soon."""
        self._end.set()

    def run(self) -> None:
        while not self._end.wait(_KEEPER_SECONDS):
            transport = self._transport()
            if transport is None:
                return
            try:
                transport.touch()
            except OSError:
                return  # whoever works with the connection sees it too
            del transport


def _has_children() -> bool:
    """Whether this process has those of a prefork pool, and may fork more."""
    billiard = sys.modules.get("billiard")
    return bool(billiard and billiard.active_children())


def address_of(client: Any) -> Address:
    """Where a connection of kombu's leads.

    :param client: the ``kombu.Connection``
    :raises ValueError: for options of TLS that make no sense
    """
    host = client.hostname or "localhost"
    password = client.password() if callable(client.password) else client.password
    tls, tls_name = _tls(client.ssl, host)
    return Address(
        host,
        client.port or DEFAULT_PORT,
        client.userid or "",
        password or "",
        tls,
        tls_name,
        client.connect_timeout or 5.0,
    )


def _tls(options: Any, host: str) -> tuple[ssl.SSLContext | None, str]:
    """What ``broker_use_ssl`` says: true, or options with the names that they have for kombu's AMQP or Redis."""
    if not options:
        return None, ""
    if not isinstance(options, Mapping):
        options = {}
    given = {name.removeprefix("ssl_"): value for name, value in options.items()}
    unknown = sorted(set(given) - set(_TLS_OPTIONS))
    if unknown:
        raise ValueError(f"unknown TLS option {unknown[0]!r}; there are {', '.join(_TLS_OPTIONS)}")
    context = ssl.create_default_context(cafile=given.get("ca_certs"))
    reqs = given.get("cert_reqs", ssl.CERT_REQUIRED)
    if isinstance(reqs, str):
        reqs = getattr(ssl, reqs if reqs.startswith("CERT_") else f"CERT_{reqs.upper()}")
    if reqs == ssl.CERT_NONE or given.get("check_hostname") is False:
        context.check_hostname = False
    context.verify_mode = reqs
    if given.get("certfile"):
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    return context, given.get("server_hostname") or host
