"""New settings for the queues that are there.

What a setting decides from request to request is in force with the assignment.
The rest is here: what a queue has derived from its settings, and what it has
promised under the old ones. A reservation keeps the deadline it was given, and
an item its expiry.
"""

from __future__ import annotations

from collections.abc import Iterator

from redqueue.engine.broker import Broker
from redqueue.engine.queue import Queue
from redqueue.engine.settings import DROP_OLDEST, QueueSettings, SettingsBook

QUEUES = 200
"""Queues looked at in one step."""
RESERVATIONS = 500
"""Reservations moved in one step."""


def put_in_force(broker: Broker, book: SettingsBook) -> Iterator[None]:
    """Have all queues go by ``book``, those that come to be at once, the others step by step.

    Between two steps, which are short whatever there is, the engine may be used as always.
    """
    broker.book = book
    for count, queue in enumerate(list(broker.queues.values()), 1):
        settings = book.of(queue.name)
        if settings != queue.settings:
            yield from _change(queue, settings)
        if not count % QUEUES:
            yield


def _change(queue: Queue, settings: QueueSettings) -> Iterator[None]:
    before, queue.settings = queue.settings, settings
    queue.set_children(queue.children)
    if settings.overflow == DROP_OLDEST and queue.cold_items:
        queue.read_back()  # the oldest are wanted at hand
    if settings.reserve_timeout < before.reserve_timeout:
        yield from _keep_deadlines(queue)


def _keep_deadlines(queue: Queue) -> Iterator[None]:
    """The queue's own timeout is shorter now: older reservations, which end later, get deadlines of their own."""
    deadlines, older = queue.ledger.deadlines, list(queue.reservations)
    for start in range(0, len(older), RESERVATIONS):
        for reservation in older[start : start + RESERVATIONS]:
            if queue.reservations.pop(reservation, False) is None:
                queue.timed.add(reservation)
                deadlines.set(reservation, reservation.ends)
        yield
    first = next(iter(queue.reservations), None)
    if first is not None and (queue.deadline is None or first.ends < queue.deadline):
        deadlines.set(queue, first.ends)
