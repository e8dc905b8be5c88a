"""Consumers, their reservations, and their places in the line of a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from redqueue.engine.deadlines import Deadlines

SPARE_NAMES: Final = 1000
"""Named consumers that may be kept though they have nothing."""


class Source(Protocol):
    """A queue, as those who have something of it see it."""

    name: bytes

    def acknowledge(self, reservation: Reservation, receipt: Any) -> None:
        """The item is done with, for ever."""

    def acknowledge_with_put(self, reservation: Reservation, receipt: Any) -> None:
        """The item is done with if what is put in the same batch can be stored."""

    def cancel(self, reservation: Reservation, delay: float = 0.0) -> None:
        """The consumer gives the item back, not to be ready before ``delay`` seconds have passed."""

    def give_back(self, reservation: Reservation) -> None:
        """The consumer has gone."""

    def time_out(self, reservation: Reservation) -> None:
        """The deadline has passed."""

    def touch(self, reservation: Reservation, seconds: float | None) -> None:
        """The reservation gets another deadline."""

    def restore(self, reservation: Reservation, consumer: Consumer) -> None:
        """An acknowledgement that the journal could not take has not happened."""

    def join_line(self, waiter: Waiter) -> None:
        """A waiter stands at the end of the line."""

    def leave_line(self, waiter: Waiter) -> None:
        """A waiter stands in this line no more."""


class Consumer:
    """Whoever reserves and acknowledges: a connection.

    :ivar held: reservations by queue name, oldest first; a queue of which
        nothing is held has no entry.
    :ivar waits: how many waiters it has in the lines of queues
    :ivar prefetch: how many items of a queue it may hold, as it said itself; 0 for the queue's setting
    """

    __slots__ = ("closed", "held", "prefetch", "waits")

    def __init__(self) -> None:
        self.waits = 0
        self.held: dict[bytes, list[Reservation]] = {}
        self.closed = False
        self.prefetch = 0

    def oldest(self, queue: bytes) -> Reservation | None:
        """The oldest reservation held on ``queue``, or None."""
        held = self.held.get(queue)
        return held[0] if held else None

    def close(self) -> None:
        """Give back everything, each item to its old place."""
        self.closed = True
        for held in list(self.held.values()):
            for reservation in list(held):
                reservation.queue.give_back(reservation)


ANYBODY: Final = Consumer()
"""Holds nothing, and stands for whoever might ask."""


class NamedConsumers:
    """Consumers that act over any connection, and outlive them all (CONTRACT: ``/as=NAME``).

    One that has nothing and waits nowhere costs nothing for long: it is let go of when there
    are twice as many, and a few, as there were in use before.
    """

    __slots__ = ("_consumers", "_most")

    def __init__(self) -> None:
        self._consumers: dict[bytes, Consumer] = {}
        self._most = SPARE_NAMES

    def __len__(self) -> int:
        return len(self._consumers)

    def find(self, name: bytes) -> Consumer | None:
        """The consumer ``name``; None where nobody of that name can have anything."""
        return self._consumers.get(name)

    def get(self, name: bytes) -> Consumer:
        """The consumer ``name``, made where there is none."""
        consumer = self._consumers.get(name)
        if consumer is None:
            if len(self._consumers) >= self._most:
                self._consumers = {name: self._consumers[name] for name in self.in_use()}
                self._most = 2 * len(self._consumers) + SPARE_NAMES
            consumer = self._consumers[name] = Consumer()
        return consumer

    def items(self) -> list[tuple[bytes, Consumer]]:
        """Names and consumers."""
        return [*self._consumers.items()]

    def in_use(self) -> list[bytes]:
        """The names of those that hold something or wait."""
        return [name for name, consumer in self._consumers.items() if consumer.held or consumer.waits]


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
    """A consumer in the lines of one or several queues, for the first item of any.

    :param queues: the first one with an item serves the waiter, which then leaves the other lines
    :param timeout: the reservation's deadline, as for ``reserve``
    :param deliver: called once, with the reservation or with None for a miss
    """

    __slots__ = ("_deadlines", "consumer", "deadline", "deliver", "queues", "timeout")

    def __init__(
        self,
        queues: Iterable[Source],
        consumer: Consumer,
        timeout: float | None,
        deliver: Callable[[Reservation | None], None],
        deadlines: Deadlines,
    ) -> None:
        self.queues = dict.fromkeys(queues)
        self.consumer: Consumer | None = consumer
        self.timeout = timeout
        self.deliver = deliver
        self.deadline: float | None = None
        self._deadlines = deadlines

    def stand(self, until: float) -> None:
        """Join the lines, until a moment on the monotonic clock."""
        self._deadlines.set(self, until)
        assert self.consumer is not None
        self.consumer.waits += 1
        for queue in self.queues:
            queue.join_line(self)

    def expire(self, now: float) -> None:
        """The waiting time is over."""
        self.cancel()
        self.deliver(None)

    def cancel(self) -> None:
        """Leave every line without an answer."""
        self._deadlines.clear(self)
        if self.consumer is not None:
            self.consumer.waits -= 1
            self.consumer = None
        queues, self.queues = self.queues, {}
        for queue in queues:
            queue.leave_line(self)

    def serve(self, queue: Source, reservation: Reservation | None) -> None:
        """``queue``, whose line the waiter has left, has an item for it; None where the consumer holds enough of it."""
        self.queues.pop(queue, None)
        if reservation is not None or not self.queues:
            self.cancel()
            self.deliver(reservation)
