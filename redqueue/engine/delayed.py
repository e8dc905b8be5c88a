"""An item that is not ready before a moment."""

from __future__ import annotations

from typing import Protocol


class Delayed:
    """An item on its way to being ready.

    :param deliveries: how often it was delivered so far
    """

    __slots__ = ("_queue", "deadline", "deliveries", "record")

    def __init__(self, queue: Destination, record: bytes, deliveries: int) -> None:
        self._queue = queue
        self.record = record
        self.deliveries = deliveries
        self.deadline: float | None = None

    def expire(self, now: float) -> None:
        """The moment has come."""
        self._queue.end_delay(self)


class Destination(Protocol):
    """The queue of a delayed item."""

    def end_delay(self, delayed: Delayed) -> None:
        """The item is ready now."""
