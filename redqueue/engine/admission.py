"""What a put meets where it is not a plain one: limits, TTLs, delays, and children to share with.

:meth:`redqueue.engine.queue.Queue.put` comes here when the server takes no items
for now, when the queue's settings or children have a say, and with a delay. All
else it does itself.
"""

from __future__ import annotations

from collections.abc import Callable

from redqueue.engine.arrival import Arrival
from redqueue.engine.delayed import LONGEST, ready_at
from redqueue.engine.queue import Queue
from redqueue.engine.settings import DROP_OLDEST
from redqueue.journal import record as rec

DROP_MOST = 1000
"""Items dropped for one put, unless it needs more."""


def admit(queue: Queue, arrival: Arrival) -> bool:
    """Put an item, into the queue's children too where it has any: into all of them or none.

    :returns: False where there is no room, or the server takes no items
    :raises StorageFailed: when the journal has failed
    """
    ledger = queue.ledger
    if ledger.refusing:
        ledger.check_space()
        return False
    if queue.children:
        return ledger.fan_out(queue, arrival)
    if not has_room(queue, len(arrival.payload)):
        return False
    take(queue, arrival, ledger.journal_put)
    return True


def fits(queue: Queue, size: int) -> bool:
    """Whether an item of ``size`` bytes is within the queue's limits."""
    return _is_within(queue, queue.items + 1, queue.bytes + size)


def _is_within(queue: Queue, items: int, size: int) -> bool:
    settings = queue.settings
    if settings.max_items and items > settings.max_items:
        return False
    return not settings.max_bytes or size <= settings.max_bytes


def has_room(queue: Queue, size: int) -> bool:
    """Whether an item of ``size`` bytes may be put, older ones being dropped for it where the settings say so."""
    if fits(queue, size):
        return True
    settings = queue.settings
    if settings.overflow != DROP_OLDEST or (settings.max_bytes and size > settings.max_bytes):
        return False
    items, total = queue.items + 1, queue.bytes + size
    for dropped, record in enumerate(queue.ready, 1):
        if isinstance(record, int):
            return False  # being read back, behind a start or new settings
        items -= 1
        total -= rec.payload_size(record)
        if _is_within(queue, items, total) or (dropped >= DROP_MOST and items <= queue.items and total <= queue.bytes):
            return True
    return False


def take(queue: Queue, arrival: Arrival, journal_put: Callable[[bytes], None]) -> None:
    """Put an item for which there is room into this one queue.

    :param journal_put: takes its record
    """
    ledger = queue.ledger
    delay = min(arrival.delay, LONGEST)
    _make_room(queue, len(arrival.payload))
    expires = capped(queue, arrival.expires)
    ledger.last_id += 1
    record = rec.put(
        queue.number,
        ledger.last_id,
        ledger.clock.wall,
        arrival.flags,
        arrival.payload,
        expires,
        queue.ready.front_place() if arrival.first else None,
        ready_at(ledger.clock, delay),
    )
    queue.count(record)
    if expires:
        queue.wake_at(expires)
    journal_put(record)
    if not delay and not arrival.first:
        ledger.puts.append((queue, record, arrival.receipt))
        return
    due = ledger.clock.now + delay
    queue.uncommitted.append(record)

    def commit() -> None:
        queue.uncommitted.remove(record)
        queue.total_items += 1
        ledger.total_items += 1
        if delay:
            queue.delay(record, due, 0)
        else:
            queue.insert(record, 0)

    def rollback() -> None:
        queue.uncommitted.remove(record)
        queue.discount(record)

    ledger.effect(commit, rollback, arrival.receipt)


def capped(queue: Queue, expires: int) -> int:
    """When an item's TTL passes that asks for ``expires``, as the queue's ``ttl`` allows."""
    if not queue.settings.ttl:
        return expires
    most = queue.ledger.clock.wall + int(queue.settings.ttl * 1e9)
    return min(expires, most) if expires else most


def _make_room(queue: Queue, size: int) -> None:
    """Drop the oldest ready items until there is room for ``size`` bytes.

    Where the limits have become much lower, each put drops some more than it brings.
    """
    items, total = queue.items, queue.bytes
    dropped = 0
    while not fits(queue, size):
        _discard(queue, *queue.ready.take_first())
        dropped += 1
        if dropped >= DROP_MOST and queue.items < items and queue.bytes + size <= total:
            return


def _discard(queue: Queue, record: bytes, deliveries: int) -> None:
    ledger = queue.ledger
    queue.discount(record)
    ledger.journal_ack(record)

    def commit() -> None:
        queue.discarded += 1

    def rollback() -> None:
        queue.count(record)
        queue.insert(record, deliveries)

    ledger.effect(commit, rollback, None)
