"""The clock of the engine, handed in so that tests can turn it.

Time stands still while a tick of the server is carried out: everything in it
sees the same moment, and reading the clock costs an attribute. Whoever calls
into the engine after having waited calls :meth:`Clock.tick` first.
"""

from __future__ import annotations

from time import monotonic, time_ns
from typing import Final

_monotonic: Final = monotonic
_time_ns: Final = time_ns


class Clock:
    """Both clocks of the machine.

    Reservations and waits run on the monotonic clock, which no administrator
    and no NTP daemon moves; TTLs and what is journaled are wall-clock moments,
    which mean the same after a restart.

    :ivar now: the monotonic clock, seconds since some fixed moment
    :ivar wall: the wall clock, nanoseconds since 1970
    """

    __slots__ = ("now", "wall")

    def __init__(self) -> None:
        self.now = _monotonic()
        self.wall = _time_ns()

    def tick(self) -> None:
        """Look at the machine's clocks."""
        self.now = _monotonic()
        self.wall = _time_ns()


class ManualClock(Clock):
    """A clock that moves only when told to, for tests and simulations.

    :param now: where the monotonic clock starts, seconds
    :param wall: where the wall clock starts, seconds since 1970
    """

    __slots__ = ()

    def __init__(self, now: float = 1000.0, wall: float = 1_750_000_000.0) -> None:
        self.now = now
        self.wall = int(wall * 1e9)

    def tick(self) -> None:
        """Nothing: it stands until :meth:`advance`."""

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self.now += seconds
        self.wall += int(seconds * 1e9)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one does not notice."""
        self.wall += int(seconds * 1e9)
