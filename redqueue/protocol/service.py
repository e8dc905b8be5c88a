"""What all sessions of a server share, and what they ask of whoever moves their bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from redqueue.engine.broker import Broker
from redqueue.protocol.counters import Counters
from redqueue.protocol.host import Host
from redqueue.protocol.request import Requests
from redqueue.protocol.unfinished import Unfinished

TURN_LINES_ALONE = 512
NO_LIMIT = 1 << 62
"""More bytes than will ever be read."""


class Owner(Protocol):
    """Whoever moves a session's bytes."""

    def pause_input(self) -> None:
        """Read no more before the session has gone on."""

    def pause_input_until_commit(self) -> None:
        """Read no more before the journal has caught up."""

    def resume_input(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close the connection at once."""


Codec = Callable[[Any], Unfinished]
"""Takes over a session of which nothing has been read; what it returns is fed with all that arrives."""


class Service:
    """What all sessions of a server share.

    :param broker: the engine
    :param requests: parses lines
    :param host: answers what only the server knows
    :param codecs: by a connection's first byte, what makes of its session one that speaks another protocol than text

    :ivar served: owners of sessions that have been served, or may go on, since
        the last tick: they may have output, be stalled or be done
    :ivar turns: sessions that have asked for more than is done at once, in the order in which they go on
    :ivar turn_lines: how many lines of one client's input, those of bodies among them, are carried out in a turn
    :ivar schedule: has what is in ``served`` looked at soon; called when it gets its first entry
    :ivar bytes_read: bytes received from all clients
    :ivar read_limit: the ``bytes_read`` from which on clients are no longer
        read, because more has arrived than the journal can take for now
    """

    __slots__ = (
        "broker",
        "bytes_read",
        "codecs",
        "counters",
        "host",
        "read_limit",
        "requests",
        "schedule",
        "served",
        "turn_lines",
        "turns",
    )

    def __init__(self, broker: Broker, requests: Requests, host: Host, codecs: dict[int, Codec]) -> None:
        self.broker = broker
        self.requests = requests
        self.codecs = codecs
        self.counters = Counters()
        self.host = host
        self.served: list[Owner] = []
        self.turns: deque[Any] = deque()
        self.turn_lines = TURN_LINES_ALONE
        self.schedule: Callable[[], None] = _do_nothing
        self.bytes_read = 0
        self.read_limit = NO_LIMIT

    def begin(self) -> None:
        """A tick begins: the engine sees the time as it is now."""
        self.broker.clock.tick()
        self.schedule()


def _do_nothing() -> None:
    """Until somebody cares."""
