"""Looking into a queue without changing it: who works on it, and what it holds in which state."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush, merge
from itertools import chain, islice
from typing import NamedTuple

from redqueue.engine.consumer import Consumer
from redqueue.engine.queue import Queue
from redqueue.journal import record as rec

COUNTED_RESERVATIONS = 10_000
"""Reservations that are looked at to count the consumers of a queue."""


class Found(NamedTuple):
    """An item that was found.

    :ivar entry: its record, or its id where that is not in memory
    :ivar deliveries: how often it was delivered; None where only its record tells
    :ivar until: when its reservation or its delay ends, monotonic seconds; 0 where it has none
    :ivar consumer: who holds it
    """

    entry: bytes | int
    deliveries: int | None
    until: float = 0.0
    consumer: Consumer | None = None


def count_consumers(queue: Queue) -> int:
    """How many consumers hold items of ``queue`` or wait for them, by its first :data:`COUNTED_RESERVATIONS`."""
    reservations = islice(chain(queue.reservations, queue.timed), COUNTED_RESERVATIONS)
    waiting = islice(queue.waiters, COUNTED_RESERVATIONS)
    return len({each.consumer for each in waiting} | {each.consumer for each in reservations})


def count_delayed(queue: Queue) -> int:
    """How many items of ``queue`` are delayed."""
    return 0 if queue.delayed is None else len(queue.delayed)


def ready(queue: Queue) -> Iterator[Found]:
    """The ready items, the next one first. What has expired is left out where that is known.

    Costs what is taken, however much there is. The queue must not change meanwhile.
    """
    wall, fifo, returned = queue.ledger.clock.wall, queue.ready, queue.ready.returned
    arrived = ((rec.place(record), Found(record, 0)) for record in fifo.arrived)
    backlog = ((item_id, Found(item_id, None)) for item_id in fifo.backlog)
    given_back = (
        (place, Found(fifo.warm.get(entry, entry) if isinstance(entry, int) else entry, deliveries))
        for place, entry, deliveries in _in_order(returned)
    )
    found = merge(given_back, chain(arrived, backlog), key=_place) if returned else chain(arrived, backlog)
    return (item for _, item in found if isinstance(item.entry, int) or not 0 < rec.expires(item.entry) <= wall)


def reserved(queue: Queue) -> Iterator[Found]:
    """The reserved items: those with the queue's own deadline, the earliest first, then the others."""
    for reservation in chain(queue.reservations, queue.timed):
        yield Found(reservation.record, reservation.deliveries, reservation.ends, reservation.consumer)


def delayed(queue: Queue) -> Iterator[Found]:
    """The delayed items, the next one first, as :func:`ready` does."""
    return iter(()) if queue.delayed is None else (Found(*entry) for entry in queue.delayed.in_order())


def _place(entry: tuple[int, Found]) -> int:
    return entry[0]


def _in_order(heap: list[tuple[int, bytes | int, int]]) -> Iterator[tuple[int, bytes | int, int]]:
    """The entries of a heap in their order, which stays as it is: each costs the logarithm of those before it."""
    next_ones = [(heap[0][0], 0)] if heap else []
    while next_ones:
        _, i = heappop(next_ones)
        yield heap[i]
        for child in (2 * i + 1, 2 * i + 2):
            if child < len(heap):
                heappush(next_ones, (heap[child][0], child))
