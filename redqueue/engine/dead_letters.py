"""Dead letters: items that were lost too often, moved to a queue where nobody works on them.

The move is one record of the journal: the item in another queue, with its id,
its time, the queue it came from and the number of its losses. So a crash leaves
it in one of the two queues, and never in both.
"""

from __future__ import annotations

import math
from typing import Any

from redqueue.engine.admission import fits
from redqueue.engine.consumer import Reservation
from redqueue.engine.queue import Queue
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_ORIGIN

REDRIVE_MOST = 1000
"""Letters looked at in one go."""


def bury(queue: Queue, record: bytes, deliveries: int, losses: int, receipt: Any = None) -> bool:
    """Move an item that is in no container to the queue's dead letters.

    Limits do not hold for them, since the item would have to stay for ever or be lost.

    :param receipt: handed back by ``rollback`` if the journal cannot take it
    :returns: False where that cannot be now, and nothing has happened
    """
    ledger = queue.ledger
    grave = _grave(queue)
    if grave is queue or ledger.failure or ledger.shortage or not (queue.is_settled() and grave.is_settled()):
        return False
    letter = rec.moved(record, grave.number, place=None, deliveries=losses, origin=ledger.origins.number_of(queue.name))
    grave.count(letter)
    queue.discount(record)
    ledger.journal.rewrite(letter, record)

    def commit() -> None:
        queue.dead_letters += 1
        grave.total_items += 1
        grave.insert(letter, losses)

    def rollback() -> None:
        grave.discount(letter)
        queue.count(record)
        queue.insert(record, deliveries)

    ledger.effect(commit, rollback, receipt)
    ledger.housekeeping()
    return True


def can_bury(queue: Queue) -> bool:
    """Whether the open batch has nothing that an item of the queue would have to wait for on its way.

    :raises StorageFailed: when the journal has failed or its disk is full
    """
    queue.ledger.check_space()
    return queue.is_settled() and _grave(queue).is_settled()


def set_aside(queue: Queue, reservation: Reservation, receipt: Any) -> bool:
    """A consumer says that its item is one that nobody can do: a dead letter.

    The caller has seen by :func:`can_bury` that it can be one now.

    :returns: False for an item that is among the dead letters already, which is ready again
    """
    record = queue.take_out(reservation)
    is_letter = record[1] & HAS_ORIGIN
    if not is_letter and bury(queue, record, reservation.deliveries, rec.deliveries(record), receipt):
        return True
    queue.insert(record, reservation.deliveries)
    return False


def _grave(queue: Queue) -> Queue:
    grave: Queue = queue.ledger.open(queue.settings.dead_letter_of(queue.name))
    return grave


def redrive(grave: Queue, most: int, receipt: Any) -> bool:
    """Put dead letters back to the end of where they came from, the oldest first, their losses forgotten.

    Some go at once, and the others in the next turns of the loop. Ends early at
    a queue that is full. Items that are no letters stay.

    :param grave: a settled queue
    :param most: how many go back
    :returns: whether there was one that could
    """
    moved, has_more = _redrive_some(grave, most, receipt)
    if has_more:
        _Redrive(grave, most - moved)
    return moved > 0


def redrive_one(grave: Queue, item_id: int, receipt: Any) -> bool:
    """Put one dead letter back, as :func:`redrive` does.

    :param grave: a settled queue
    :param item_id: of a ready item that is in memory, or of none
    :returns: whether there was such a letter, and it could go back
    """
    ledger = grave.ledger
    found = grave.ready.remove(item_id)
    if found is None:
        return False
    _, letter, deliveries = found
    assert isinstance(letter, bytes)
    name = ledger.origins.name_of(letter)
    queue = None if name is None else ledger.open(name)
    if queue is None or not fits(queue, rec.payload_size(letter)) or not queue.is_settled():
        grave.insert(letter, deliveries)
        return False
    _send_back(grave, letter, deliveries, queue, receipt)
    return True


def _redrive_some(grave: Queue, most: int, receipt: Any) -> tuple[int, bool]:
    """Put back what is found among the next :data:`REDRIVE_MOST` items.

    :returns: how many went back, and whether there may be more of them
    """
    ledger = grave.ledger
    kept: list[tuple[bytes, int]] = []
    moved = looked_at = 0
    is_cold = False
    while moved < most and looked_at < REDRIVE_MOST and grave.head() is not None:
        letter, deliveries = grave.ready.take_first()
        looked_at += 1
        name = ledger.origins.name_of(letter)
        if name is None:
            kept.append((letter, deliveries))
            continue
        queue = ledger.open(name)
        if not fits(queue, rec.payload_size(letter)) or not queue.is_settled():
            kept.append((letter, deliveries))
            break
        _send_back(grave, letter, deliveries, queue, receipt)
        moved += 1
    else:
        is_cold = moved < most and looked_at < REDRIVE_MOST and len(grave.ready) > 0
    for letter, deliveries in kept:
        grave.insert(letter, deliveries)
    return moved, is_cold or (0 < moved < most and looked_at == REDRIVE_MOST)


def _send_back(grave: Queue, letter: bytes, deliveries: int, queue: Queue, receipt: Any) -> None:
    ledger = grave.ledger
    record = rec.moved(letter, queue.number, place=ledger.last_place())
    queue.count(record)
    grave.discount(letter)
    ledger.journal.rewrite(record, letter)

    def commit() -> None:
        queue.total_items += 1
        queue.insert(record, 0)

    def rollback() -> None:
        queue.discount(record)
        grave.count(letter)
        grave.insert(letter, deliveries)

    ledger.effect(commit, rollback, receipt)


class _Redrive:
    """The rest of a redrive that is too long for one go.

    :param left: how many letters are still to go back
    """

    __slots__ = ("deadline", "grave", "left")

    def __init__(self, grave: Queue, left: int) -> None:
        self.grave = grave
        self.left = left
        self.deadline: float | None = None
        self._go_on()

    def _go_on(self) -> None:
        ledger = self.grave.ledger
        ledger.deadlines.set(self, math.nextafter(ledger.clock.now, math.inf))

    def expire(self, now: float) -> None:
        ledger = self.grave.ledger
        if ledger.failure:
            return
        if not self.grave.is_settled():
            self._go_on()
            return
        if self.grave.head() is None and len(self.grave.ready):
            self.grave.when_read_back(self._go_on)
            return
        moved, has_more = _redrive_some(self.grave, self.left, None)
        self.left -= moved
        if moved:
            ledger.housekeeping()
        if has_more:
            self._go_on()
