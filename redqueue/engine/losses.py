"""What becomes of an item that was delivered and not acknowledged, where it does not simply go to its old place.

A delivery is lost when its connection closes or its deadline passes. Where the
settings care, losses are counted in the item's record, which the journal gets
anew: so the count outlives a restart, and so does a delay.
"""

from __future__ import annotations

from redqueue.engine import dead_letters
from redqueue.engine.delayed import LONGEST, ready_at
from redqueue.engine.queue import Queue
from redqueue.engine.settings import TAIL
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_ORIGIN

LONGEST_DELAY = 3600.0
"""Seconds; the delay of a lost item doubles up to here."""


def put_back(queue: Queue, record: bytes, deliveries: int, delay: float, is_loss: bool) -> None:
    """Put an item back that is in no container any more.

    :param deliveries: how often it was delivered
    :param delay: seconds before it is ready again
    :param is_loss: whether its consumer was lost, or gave it back otherwise
    """
    delay = min(delay, LONGEST)
    settings, ledger = queue.settings, queue.ledger
    losses = rec.deliveries(record)
    is_letter = record[1] & HAS_ORIGIN  # dead letters do not die, however often one looks at them
    if is_loss and settings.counts_losses and not is_letter and not ledger.ending:
        losses += 1
        if settings.max_deliveries and losses >= settings.max_deliveries:
            if dead_letters.bury(queue, record, deliveries, losses):
                return
        elif settings.retry_delay:
            delay = retry_delay(settings.retry_delay, losses)
    to_tail = settings.requeue == TAIL
    if delay or to_tail or losses != rec.deliveries(record):
        moved = rec.moved(
            record,
            queue.number,
            place=ledger.last_place() if to_tail else rec.own_place(record),
            ready_at=ready_at(ledger.clock, delay),
            deliveries=losses,
            origin=ledger.origins.current(record),
        )
        if can_rewrite(queue):
            ledger.journal.rewrite(moved, record)
            ledger.housekeeping()
        queue.discount(record)
        queue.count(moved)
        record = moved
    if delay:
        queue.delay(record, ledger.clock.now + delay, deliveries)
    else:
        queue.insert(record, deliveries)


def can_rewrite(queue: Queue) -> bool:
    """Whether the journal may get items of the queue anew.

    Not behind a ``flush`` that is not committed: that drops them, and the
    journal would have them again. Nor on a full disk.
    """
    ledger = queue.ledger
    return queue.is_settled() and not ledger.failure and not ledger.shortage


def retry_delay(first: float, losses: int) -> float:
    """Seconds until an item is ready again that was lost for the ``losses``-th time."""
    return min(LONGEST_DELAY, first * 2.0 ** min(losses - 1, 64))
