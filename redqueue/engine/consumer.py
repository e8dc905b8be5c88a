"""Consumers, their reservations, and their places in the line of a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Source(Protocol):
    """A queue, as those who have something of it see it."""

    def acknowledge(self, reservation: Reservation, receipt: Any) -> None:
        """The item is done with, for ever."""

    def acknowledge_with_put(self, reservation: Reservation, receipt: Any) -> None:
        """The item is done with if what is put in the same batch can be stored."""

    def cancel(self, reservation: Reservation) -> None:
        """The consumer gives the item back."""

    def give_back(self, reservation: Reservation) -> None:
        """The consumer has gone."""

    def time_out(self, reservation: Reservation) -> None:
        """The deadline has passed."""

    def touch(self, reservation: Reservation, seconds: float | None) -> None:
        """The reservation gets another deadline."""

    def restore(self, reservation: Reservation, consumer: Consumer) -> None:
        """An acknowledgement that the journal could not take has not happened."""

    def leave_line(self, waiter: Waiter) -> None:
        """A waiter waits no more."""


class Consumer:
    """Whoever reserves and acknowledges: a connection.

    :ivar held: reservations by queue name, oldest first; a queue of which
        nothing is held has no entry.
    """

    __slots__ = ("closed", "held", "waiter")

    def __init__(self) -> None:
        self.held: dict[bytes, list[Reservation]] = {}
        self.waiter: Waiter | None = None
        self.closed = False

    def oldest(self, queue: bytes) -> Reservation | None:
        """The oldest reservation held on ``queue``, or None."""
        held = self.held.get(queue)
        return held[0] if held else None

    def close(self) -> None:
        """Leave every line and give back everything, each item to its old place."""
        self.closed = True
        if self.waiter is not None:
            self.waiter.cancel()
        for held in list(self.held.values()):
            for reservation in list(held):
                reservation.queue.give_back(reservation)


class Reservation:
    """One item in the hands of one consumer.

    It ends when it is acknowledged, given back, or its deadline passes; then
    ``consumer`` is None.

    :ivar ends: when it ends by itself, monotonic seconds
    :ivar deadline: the same where the request named a deadline; None for a
        reservation with the queue's own timeout, which the queue looks after
    """

    __slots__ = ("consumer", "deadline", "deliveries", "ends", "queue", "record", "token")

    def __init__(self, queue: Source, consumer: Consumer, record: bytes, deliveries: int, ends: float) -> None:
        self.queue = queue
        self.consumer: Consumer | None = consumer
        self.record = record
        self.deliveries = deliveries
        self.ends = ends
        self.deadline: float | None = None
        self.token = 0

    def expire(self, now: float) -> None:
        """The deadline passed: the sweeper takes the item back."""
        self.queue.time_out(self)


class Waiter:
    """A consumer in the line for the next item of a queue.

    :param deliver: called once, with the reservation or with None for a miss.
    """

    __slots__ = ("consumer", "deadline", "deliver", "queue", "timeout")

    def __init__(
        self, queue: Source, consumer: Consumer, timeout: float | None, deliver: Callable[[Reservation | None], None]
    ) -> None:
        self.queue = queue
        self.consumer = consumer
        self.timeout = timeout
        self.deliver = deliver
        self.deadline: float | None = None

    def expire(self, now: float) -> None:
        """The waiting time is over."""
        self.queue.leave_line(self)
        self.deliver(None)

    def cancel(self) -> None:
        """Leave the line without an answer."""
        self.queue.leave_line(self)
