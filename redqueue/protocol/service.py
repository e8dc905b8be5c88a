"""What all sessions of a server share, and what they ask of whoever moves their bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from redqueue.access.roles import Grant, User
from redqueue.engine.broker import Broker
from redqueue.protocol.counters import Counters
from redqueue.protocol.host import Host
from redqueue.protocol.permissions import denial
from redqueue.protocol.request import Requests
from redqueue.protocol.unfinished import Unfinished

TURN_LINES_ALONE: Final = 512
"""Lines that a turn has while all clients have much to ask."""
_MOST_GRANTED: Final = 256
"""Different sets of grants that lines are remembered for at a time."""
NO_LIMIT: Final = 1 << 62
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

    :ivar gate: what a client meets first, made for its session; None where all may do everything
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
        "_granted",
        "broker",
        "bytes_read",
        "codecs",
        "counters",
        "gate",
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
        self.gate: Codec | None = None
        self._granted: dict[tuple[Grant, ...], Requests] = {}
        self.codecs = codecs
        self.counters = Counters()
        self.host = host
        self.served: list[Owner] = []
        self.turns: deque[Any] = deque()
        self.turn_lines = TURN_LINES_ALONE
        self.schedule: Callable[[], None] = _do_nothing
        self.bytes_read = 0
        self.read_limit = NO_LIMIT

    def requests_of(self, user: User | None) -> Requests:
        """The requests of all lines as ``user`` may make them: shared by all with the same grants."""
        if user is None:
            return self.requests
        found = self._granted.get(user.grants)
        if found is None:
            if len(self._granted) >= _MOST_GRANTED:
                self._granted.clear()  # sessions keep theirs
            found = self._granted[user.grants] = self.requests.guarded(partial(denial, user))
        return found

    def begin(self) -> None:
        """A tick begins: the engine sees the time as it is now."""
        self.broker.clock.tick()
        self.schedule()


def _do_nothing() -> None:
    """Until somebody cares."""
