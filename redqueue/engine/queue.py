"""One queue: a FIFO of ready items, their reservations, and the line of waiting consumers.

Every change takes two steps. The call appends to the journal and to the open
batch of the ledger; :meth:`redqueue.engine.broker.Broker.commit` makes it
visible once the journal has the batch, and ``rollback`` undoes it where the
journal could not take it. So nothing is ever delivered that a crash could take
back.

Ensures, between calls:

1. Every item is in exactly one of the open batch, ``ready``, ``delayed`` and the
   reservations; ``items`` and ``bytes`` count them all.
2. ``detour`` is true where the next item may not simply be taken from the left
   of ``arrived``, which is ``ready.arrived``: others come before, or behind it
   are items that are not in memory.
3. ``reservations`` holds those with the queue's own timeout, in the order in
   which they end; ``timed`` holds the others, which have deadlines of their own.
4. Nobody waits in line while an item is ready and in memory, the batch is
   settled and the consumer may hold one more, unless the queue is paused.
5. ``special`` is true where a put has settings or children to look at.
6. ``cold_cost`` is what the records that are not in memory would cost there;
   the ledger's is that of all queues.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final

from redqueue.engine.arrival import Arrival
from redqueue.engine.consumer import Consumer, Reservation, Waiter
from redqueue.engine.contents import SWEEP_SECONDS, Contents
from redqueue.engine.ledger import ITEM_COST, Ledger
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_EXPIRY, PUT, PUT_HEAD, PUT_SIZE

IDLE_SECONDS: Final = 10.0
"""An empty, unused queue is forgotten after this long, with its statistics."""
SWEEP_MOST: Final = 1000
"""Expired items dropped from a queue in one go."""

_pack_put: Final = PUT_HEAD.pack
_from_bytes: Final = int.from_bytes


class Queue(Contents):
    """One queue. Made by :meth:`redqueue.engine.broker.Broker.open`.

    :param ledger: what it shares with all other queues
    :param number: stands for it in the journal
    :param on_unused: called when it has been empty and unused for a while
    """

    __slots__ = (
        "_on_unused",
        "abandoned",
        "cancelled",
        "children",
        "created",
        "dead_letters",
        "discarded",
        "expired",
        "flushed",
        "flushed_reservations",
        "flushes",
        "number",
        "number_high",
        "number_low",
        "reservations",
        "seen_items",
        "special",
        "timed",
        "timed_out",
        "total_items",
        "total_reserved",
        "uncommitted",
        "waiters",
    )

    def __init__(self, ledger: Ledger, name: bytes, number: int, on_unused: Callable[[Queue], None]) -> None:
        super().__init__(ledger, name)
        self._on_unused = on_unused
        self.number = number
        self.number_high = number >> 32
        self.number_low = number & 0xFFFFFFFF
        self.children: tuple[bytes, ...] = ()
        self.special = self.settings.examines_puts
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.flushed = 0
        self.uncommitted: list[bytes] = []
        self.seen_items = 0
        self.reservations: dict[Reservation, None] = {}
        self.timed: set[Reservation] = set()
        self.created = ledger.clock.wall
        self.total_items = 0
        self.total_reserved = 0
        self.expired = 0
        self.timed_out = 0
        self.abandoned = 0
        self.cancelled = 0
        self.flushes = 0
        self.flushed_reservations = 0
        self.discarded = 0
        self.dead_letters = 0

    # -- puts ---------------------------------------------------------------

    def put(self, payload: bytes, flags: int, expires: int, receipt: Any, delay: float = 0.0) -> bool:
        """Append an item.

        :param payload: the item's bytes
        :param flags: 32-bit client flags
        :param expires: wall-clock nanoseconds at which its TTL passes, 0 for never
        :param receipt: handed back by ``rollback`` if the journal cannot take it
        :param delay: seconds before which it is not ready
        :returns: False where the queue is full or the server takes no items
        :raises StorageFailed: when the journal has failed
        """
        ledger = self.ledger
        size = len(payload)
        if self.special or ledger.refusing or delay:
            return ledger.admit(self, Arrival(payload, flags, expires, receipt, delay))
        ledger.last_id = item_id = ledger.last_id + 1
        if expires:
            record = rec.put(self.number, item_id, ledger.clock.wall, flags, payload, expires)
            self._expect_expiry(expires)
            self.fields += 8
        else:
            record = (
                _pack_put(PUT, 0, self.number_high, self.number_low, item_id, ledger.clock.wall, flags, size) + payload
            )
        self.items += 1
        self.bytes += size
        ledger.journal_put(record)
        ledger.puts.append((self, record, receipt))
        return True

    def put_first(self, payload: bytes, flags: int, expires: int, receipt: Any, delay: float = 0.0) -> bool:
        """Put an item at the head, the next one out. Arguments and result as :meth:`put`."""
        return self.ledger.admit(self, Arrival(payload, flags, expires, receipt, delay, first=True))

    def head(self) -> bytes | None:
        """The record of the ready head, or None; expired items are dropped on the way.

        None as well where the head is not in memory, which is then being read back (:meth:`is_reading_back`).
        """
        while True:
            record = self.ready.first()
            if record is None:
                if len(self.ready):
                    self.read_back()
                return None
            if not self._is_expired(record):
                return record
            self._drop_first()

    def rewrite_head(self, payload: bytes, flags: int, expires: int, receipt: Any) -> None:
        """Give the ready head another payload, flags and expiry, at its place and with its id.

        The caller has seen by :meth:`head` that there is one. Until the batch is
        committed the queue is unsettled: nobody reserves from it.

        :raises StorageFailed: when the journal has failed
        """
        ledger = self.ledger
        ledger.check_space()
        old = self.ready.first()
        assert old is not None
        new = rec.replaced(old, self.number, payload, flags, expires, ledger.origins.current(old))
        ledger.journal.rewrite(new, old)
        self._substitute(old, new)
        self.unsettle()
        if expires:
            self.wake_at(expires)
        ledger.effect(self.settle, lambda: self._substitute(new, old), receipt)

    def drop_head(self, receipt: Any) -> None:
        """Drop the ready head, which the caller has seen by :meth:`head`: it was replaced by nothing.

        :raises StorageFailed: when the journal has failed
        """
        ledger = self.ledger
        ledger.check_storage()
        taken = self._take()
        assert taken is not None
        record, deliveries = taken
        self.discount(record)
        ledger.journal_ack(record)

        def rollback() -> None:
            self.count(record)
            self.insert(record, deliveries - 1)

        ledger.effect(lambda: None, rollback, receipt)

    def _substitute(self, old: bytes, new: bytes) -> None:
        if not self.ready.substitute(old, new):
            return
        self.bytes += rec.payload_size(new) - rec.payload_size(old)
        self.fields += rec.payload_offset(new) - rec.payload_offset(old)
        self.mortal += (new[1] & HAS_EXPIRY) - (old[1] & HAS_EXPIRY)

    # -- the batch ----------------------------------------------------------

    def unsettle(self) -> None:
        """Nobody reserves from this queue before the open batch is committed."""
        self.unsettled = self.ledger.batch
        self.detour = True

    def settle(self) -> None:
        """A batch that touched the head is committed."""
        if self.is_settled():
            self.detour = self._must_detour()
            self.serve()

    def discount(self, record: bytes) -> None:
        """An item that is in no container is no more."""
        self.items -= 1
        self.bytes -= rec.payload_size(record)
        self.fields -= rec.payload_offset(record) - PUT_SIZE
        self.mortal -= record[1] & HAS_EXPIRY
        self.rest_if_empty()

    # -- reservations -------------------------------------------------------

    @property
    def reserved(self) -> int:
        """How many items are reserved."""
        return len(self.reservations) + len(self.timed)

    @property
    def acknowledged(self) -> int:
        """How many deliveries have ended in an acknowledgement: all that have not ended otherwise."""
        given_back = self.cancelled + self.abandoned + self.timed_out
        return self.total_reserved - self.reserved - given_back - self.flushed_reservations

    def reserve(self, consumer: Consumer, timeout: float | None = None) -> Reservation | None:
        """Hand the head to ``consumer``.

        :param timeout: seconds until the sweeper takes the item back; None for
            the queue's ``reserve_timeout``
        :returns: None where nothing is ready, or the consumer already holds as
            many items of this queue as it may
        """
        held = consumer.held.get(self.name)
        if held is not None and len(held) >= (consumer.prefetch or self.settings.prefetch):
            return None
        deliveries = 1
        if self.detour:
            taken = self._take()
            if taken is None:
                return None
            record, deliveries = taken
        elif self.arrived:
            record = self.arrived.popleft()
            if record[1] and self._is_expired(record):
                self._expire_item(record)
                return self.reserve(consumer, timeout) if self.head() else None
        else:
            return None
        ledger = self.ledger
        if timeout is None:
            ends = ledger.clock.now + self.settings.reserve_timeout
            reservation = Reservation(self, consumer, record, deliveries, ends)
            self.reservations[reservation] = None
            if self.deadline is None or ends < self.deadline:
                ledger.deadlines.set(self, ends)
        else:
            ends = ledger.clock.now + timeout
            reservation = Reservation(self, consumer, record, deliveries, ends)
            self.timed.add(reservation)
            ledger.deadlines.set(reservation, ends)
        if held is None:
            consumer.held[self.name] = [reservation]
        else:
            held.append(reservation)
        self.total_reserved += 1
        return reservation

    def _take(self) -> tuple[bytes, int] | None:
        if self.paused or not self.is_settled():
            return None
        arrived, ready = self.arrived, self.ready
        if arrived and not ready.returned and not arrived[0][1]:  # the short way of a queue that has a backlog
            record, deliveries = arrived.popleft(), 0
            if len(arrived) >= self._refill_below:
                return record, 1
        elif self.head() is not None:
            record, deliveries = ready.take_first()
        else:
            self.detour = self._must_detour()
            return None
        self.detour = self._must_detour()
        if ready.backlog and len(arrived) < self._refill_below:
            self.read_back()
        return record, deliveries + 1

    def acknowledge(self, reservation: Reservation, receipt: Any) -> None:
        """The item of a live reservation is done with, for ever.

        :raises StorageFailed: when the journal has failed; the reservation stays
        """
        ledger = self.ledger
        if ledger.failure:
            ledger.check_storage()
        record = reservation.record
        consumer = self._release(reservation)
        self.items -= 1
        if record[1]:
            self.bytes -= rec.payload_size(record)
            self.fields -= rec.payload_offset(record) - PUT_SIZE
            self.mortal -= record[1] & HAS_EXPIRY
        else:
            self.bytes -= len(record) - PUT_SIZE
        ledger.journal_ack(record)
        ledger.acks.append((reservation, consumer, receipt))
        if not self.items and (self.deadline is None or self.deadline > ledger.clock.now + IDLE_SECONDS):
            self.rest_if_empty()

    def acknowledge_with_put(self, reservation: Reservation, receipt: Any) -> None:
        """Acknowledge the item of a live reservation if what is put in the same batch can be stored, and only then."""
        record = reservation.record
        consumer = self._release(reservation)
        self.discount(record)
        self.ledger.journal.acknowledge_with_put(record)
        self.ledger.effect(_nothing, partial(self.restore, reservation, consumer), receipt)

    def _release(self, reservation: Reservation) -> Consumer:
        """End a reservation; its consumer, which no longer holds it, is returned."""
        consumer = reservation.consumer
        assert consumer is not None
        held = consumer.held.pop(self.name)
        if len(held) > 1:
            held.remove(reservation)
            consumer.held[self.name] = held
        if self.reservations.pop(reservation, False) is False:
            self.timed.remove(reservation)
            self.ledger.deadlines.clear(reservation)
        if reservation.token:
            del self.ledger.tokens[reservation.token]
        reservation.consumer = None
        return consumer

    def restore(self, reservation: Reservation, consumer: Consumer) -> None:
        """The journal could not take the acknowledgement: the reservation stands as before."""
        self.count(reservation.record)
        if consumer.closed:
            self.abandoned += 1
            self.insert(reservation.record, reservation.deliveries)
            return
        reservation.consumer = consumer
        consumer.held.setdefault(self.name, []).insert(0, reservation)
        self.timed.add(reservation)
        if reservation.token:
            self.ledger.tokens[reservation.token] = reservation
        self.ledger.deadlines.set(reservation, reservation.ends)

    def give_back(self, reservation: Reservation) -> None:
        """The connection closed: ready again at the old place, unless the settings say otherwise."""
        self.abandoned += 1
        self._return(reservation, is_loss=True)

    def cancel(self, reservation: Reservation, delay: float = 0.0) -> None:
        """The consumer gives the item back: ready again at the old place, after ``delay`` seconds."""
        self.cancelled += 1
        self._return(reservation, delay)

    def take_out(self, reservation: Reservation) -> bytes:
        """End a reservation whose item, which is returned, the caller puts somewhere else."""
        self._release(reservation)
        return reservation.record

    def time_out(self, reservation: Reservation) -> None:
        """The deadline of the reservation passed: ready again at the old place, unless the settings say otherwise."""
        self.timed_out += 1
        self._return(reservation, is_loss=True)

    def _return(self, reservation: Reservation, delay: float = 0.0, is_loss: bool = False) -> None:
        self._release(reservation)
        if delay or self.settings.examines_returns:
            self.ledger.put_back(self, reservation.record, reservation.deliveries, delay, is_loss)
        else:
            self.insert(reservation.record, reservation.deliveries)

    def touch(self, reservation: Reservation, seconds: float | None) -> None:
        """The reservation now ends ``seconds`` from now; None for the queue's default."""
        ledger = self.ledger
        reservation.ends = ledger.clock.now + (self.settings.reserve_timeout if seconds is None else seconds)
        self.reservations.pop(reservation, None)
        self.timed.add(reservation)
        ledger.deadlines.set(reservation, reservation.ends)

    # -- the line -----------------------------------------------------------

    def wait(
        self, consumer: Consumer, seconds: float, timeout: float | None, deliver: Callable[[Reservation | None], None]
    ) -> Waiter:
        """Stand in line for the next item, at most ``seconds``.

        :param timeout: the reservation's deadline, as for :meth:`reserve`
        :param deliver: called once, with the reservation, or None when the time is over
        """
        return self.ledger.wait([self], consumer, seconds, timeout, deliver)

    def join_line(self, waiter: Waiter) -> None:
        """``waiter`` stands at the end of the line."""
        self.waiters[waiter] = None

    def leave_line(self, waiter: Waiter) -> None:
        """``waiter`` stands in this line no more."""
        self.waiters.pop(waiter, None)
        self.rest_if_empty()

    def serve(self) -> None:
        """Hand ready items to those who wait, in the order of their arrival."""
        while self.waiters and not self.paused and self.is_settled() and self.head() is not None:
            waiter, _ = self.waiters.popitem(last=False)
            assert waiter.consumer is not None
            waiter.serve(self, self.reserve(waiter.consumer, waiter.timeout))
            self.rest_if_empty()

    # -- time ---------------------------------------------------------------

    def _expire_item(self, record: bytes) -> None:
        """Drop an item that is in no container any more."""
        self.expired += 1
        self.discount(record)
        self.ledger.journal_ack(record)
        self.ledger.housekeeping()

    def _expect_expiry(self, expires: int) -> None:
        self.mortal += 1
        self.wake_at(expires)

    def expire(self, now: float) -> None:
        """Woken: sweep what is over, and let the broker forget a queue that nobody uses."""
        unused = self.total_items == self.seen_items and not self.in_use()
        wakes = [self._sweep_reservations(now), self._sweep_expired(now)]
        if not self.in_use():
            if unused:
                self._on_unused(self)
                return
            self.seen_items = self.total_items
            wakes.append(now + IDLE_SECONDS)
        wake = min(wakes)
        if math.isfinite(wake) and (self.deadline is None or wake < self.deadline):
            self.ledger.deadlines.set(self, wake)

    def _sweep_reservations(self, now: float) -> float:
        """Take back what has passed the queue's own timeout; returns when to look again."""
        for _ in range(SWEEP_MOST):
            first = next(iter(self.reservations), None)
            if first is None:
                return math.inf
            if first.ends > now:
                return first.ends
            self.time_out(first)
        return now

    def _sweep_expired(self, now: float) -> float:
        """Drop items at the head whose TTL has passed; returns when to look again."""
        for _ in range(SWEEP_MOST):
            record = self.ready.first()
            if record is None:
                if not self.mortal or not len(self.ready):
                    return math.inf
                self.read_back()
                return math.inf  # go on when it is here
            if not record[1] & HAS_EXPIRY:
                return now + SWEEP_SECONDS if self.mortal else math.inf
            left = (rec.expires(record) - self.ledger.clock.wall) / 1e9
            if left > 0:
                return now + left
            self._drop_first()
        return now

    def in_use(self) -> bool:
        return bool(self.items or self.waiters or self.paused)

    def rest_if_empty(self) -> None:
        """Begin the time after which a queue that stays empty and unused is forgotten."""
        if self.in_use():
            return
        when = self.ledger.clock.now + IDLE_SECONDS
        if self.deadline is None or when < self.deadline:
            self.seen_items = self.total_items
            self.ledger.deadlines.set(self, when)

    # -- the head -----------------------------------------------------------

    def _drop_first(self) -> None:
        self._expire_item(self.ready.take_first()[0])

    # -- the whole queue ----------------------------------------------------

    def expect_flush(self) -> None:
        """What is there now will be dropped when the open batch is committed."""
        self.flushed = self.ledger.batch
        self.unsettle()

    def drop_below(self, below: int) -> tuple[Iterator[int], int, int]:
        """Drop every item with an id under ``below``, reserved ones included.

        :returns: for :meth:`redqueue.engine.journal.Journal.bury`: the ids, how many they are, bytes of their records
        """
        items, stored = self.items, self.stored
        self.flushes += 1
        dropped = self.ready.drop_below(below)
        if self.delayed is not None:
            dropped = chain(dropped, self.delayed.clear())  # what was put behind the flush is not there yet
        self.arrived = self.ready.arrived
        self._load = None
        self._cool(-self.cold_items, ITEM_COST * self.cold_items - self.cold_cost)
        reserved = []
        for reservation in (*self.reservations, *self.timed):
            if rec.item_id(reservation.record) < below:
                self._release(reservation)
                reserved.append(rec.item_id(reservation.record))
        kept = [reservation.record for reservation in (*self.reservations, *self.timed)]
        kept += self.arrived
        kept += [entry[1] for entry in self.ready.returned if isinstance(entry[1], bytes)]
        self.flushed_reservations += len(reserved)
        self.items = self.bytes = self.fields = self.mortal = 0
        for record in chain(kept, self._uncommitted()):
            self.count(record)
        self.detour = self._must_detour() or not self.is_settled()
        self.rest_if_empty()
        return chain(dropped, reserved), items - self.items, stored - self.stored

    def _uncommitted(self) -> Iterator[bytes]:
        """The records of the items that no committed batch has."""
        return chain(self.uncommitted, [record for queue, record, _ in self.ledger.puts if queue is self])

    def set_children(self, children: tuple[bytes, ...]) -> None:
        """These queues, by name, get a copy of what is put here."""
        self.children = children
        self.special = self.settings.examines_puts or bool(children)

    def pause(self) -> None:
        """Hand out no item before :meth:`resume`."""
        self.paused = self.detour = True

    def resume(self) -> None:
        """Hand out items again, first to those who wait."""
        self.paused = False
        self.settle()
        self.rest_if_empty()


def _nothing() -> None:
    """What success changes, where everything has been changed already."""
