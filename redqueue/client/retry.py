"""How long to wait: for an item, for its worker, before another attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

DEADLINE_SECONDS: Final = 60
WAIT_SECONDS: Final = 30.0
"""A reserve that waits for as long as it takes asks again after so long."""
RetryDelay = float | Callable[[int], float]


def back_off(first: float = 1.0, factor: float = 2.0, most: float = 600.0) -> Callable[[int], float]:
    """A delay that grows with each delivery: ``first`` seconds, then ``factor`` times as long, at most ``most``."""

    def delay(deliveries: int) -> float:
        return min(most, first * factor ** min(deliveries - 1, 64))

    return delay


def delay_of(retry: RetryDelay, deliveries: int) -> float:
    """Seconds that an item of so many deliveries is given back for."""
    return retry(deliveries) if callable(retry) else retry


class Reconnecting:
    """The pauses between attempts to reach a server that is away: longer each time, and never the same for a fleet."""

    def __init__(self, first: float = 0.05, most: float = 5.0) -> None:
        self._first, self._most = first, most
        self.reset()

    def reset(self) -> None:
        """The server has answered."""
        self._next = self._first

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        pause, self._next = self._next, min(self._most, self._next * 2)
        return pause * random.uniform(0.5, 1.0)
