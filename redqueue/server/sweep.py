"""A look at every connection now and then, for what nobody may do for ever: nothing at all, or half a command.

Requests pay nothing for it: what a session knows anyhow is looked at, a bounded
number of connections a turn, so that times are kept to a second or so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redqueue.server.connection import Connection, Connections

AT_ONCE = 500
"""Connections looked at in one turn of the loop: about a quarter of a millisecond."""
LONGEST_PAUSE = 1.0
"""Seconds between two rounds, at the most; less where a timeout is short."""
SLOWEST = 4096
"""Bytes a second at which a body may arrive, once ``command_timeout`` has passed. One that is refused for its length
gets no more time than the longest that is not."""


class Sweeper:
    """Looks at the connections, round after round.

    :param connections: all of them
    :param idle_timeout: seconds; 0 for never
    :param command_timeout: seconds; 0 for any time
    :param call_later: runs a function after so many seconds
    :param clock: monotonic seconds
    """

    def __init__(
        self,
        connections: Connections,
        idle_timeout: float,
        command_timeout: float,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._connections = connections
        self.set_timeouts(idle_timeout, command_timeout)
        self._call_later = call_later
        self._clock = clock
        self._round: Iterator[Connection] = iter(())

    def set_timeouts(self, idle_timeout: float, command_timeout: float) -> None:
        """Look for these from here on."""
        self._idle_timeout = idle_timeout
        self._command_timeout = command_timeout

    def start(self) -> None:
        """Look for the first time in a while."""
        shortest = min(self._idle_timeout or LONGEST_PAUSE, self._command_timeout or LONGEST_PAUSE)
        self._call_later(min(LONGEST_PAUSE, shortest / 4), self._begin)

    def _begin(self) -> None:
        if self._idle_timeout or self._command_timeout:
            self._round = iter(self._connections)
        self._go_on()

    def _go_on(self) -> None:
        now = self._clock()
        for _ in range(AT_ONCE):
            connection = next(self._round, None)
            if connection is None:
                self.start()
                return
            self.look(connection, now)
        self._call_later(0, self._go_on)

    def look(self, connection: Connection, now: float) -> None:
        """Look at one connection, and close it where its time is over."""
        session = connection.session
        if session.closing:
            return
        if self._idle_timeout:
            if session.announced is not None or not session.is_idle():
                connection.idle_since = now
                if session.announced is False:
                    session.announced = None
            elif now - connection.idle_since >= self._idle_timeout:
                self._connections.idle_kicks += 1
                connection.close_when_sent()
                return
        if self._command_timeout:
            progress = session.progress() if connection.is_read else None
            if progress is None:
                connection.piece = None
                return
            piece, missing = progress
            if piece is not connection.piece:
                connection.piece = piece
                connection.piece_ends = now + self._command_timeout + min(missing, session.max_body) / SLOWEST
            elif now >= connection.piece_ends:
                self._connections.command_timeouts += 1
                session.give_up("a command took too long to arrive")
