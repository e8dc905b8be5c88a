"""The two clocks of the engine, handed in so that tests can turn them."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of time.

    Reservations and waits run on the monotonic clock, which no administrator
    and no NTP daemon moves; TTLs and what is journaled are wall-clock moments,
    which mean the same after a restart.
    """

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    wall_ns = staticmethod(time.time_ns)


class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_750_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall_ns = int(wall * 1e9)

    def monotonic(self) -> float:
        """Seconds."""
        return self._monotonic

    def wall_ns(self) -> int:
        """Nanoseconds."""
        return self._wall_ns

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self._monotonic += seconds
        self._wall_ns += int(seconds * 1e9)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one does not notice."""
        self._wall_ns += int(seconds * 1e9)
