"""Which queues take the dead letters of which."""

from __future__ import annotations

from redqueue.engine.broker import Broker
from redqueue.engine.queue import Queue

_DEAD = b".dead"


def dead_letter_queue(broker: Broker, queue: Queue) -> Queue | None:
    """The queue that takes the dead letters of ``queue``, where there is one."""
    grave = broker.queues.get(queue.settings.dead_letter_of(queue.name))
    return None if grave is queue else grave


def count_dead(broker: Broker, queue: Queue) -> int:
    """Items in the queue that takes the dead letters of ``queue``."""
    grave = dead_letter_queue(broker, queue)
    return 0 if grave is None else grave.items


def dead_letter_names(broker: Broker) -> set[bytes]:
    """The queues that the settings name for dead letters."""
    book = broker.book
    names = {book.defaults.dead_letter, *(table.get("dead_letter", "") for table in book.tables.values())}
    return {name.encode() for name in names} - {b""}


def is_grave(name: bytes, named: set[bytes]) -> bool:
    """Whether a queue is one of dead letters, by its name.

    :param named: as :func:`dead_letter_names` gives them
    """
    return name.endswith(_DEAD) or name in named
