"""One queue: a FIFO of ready items, their reservations, and the line of waiting consumers.

Every change takes two steps. The call appends to the journal and to the open
batch of the ledger; :meth:`redqueue.engine.broker.Broker.commit` makes it
visible once the journal has the batch, and ``rollback`` undoes it where the
journal could not take it. So nothing is ever delivered that a crash could take
back.

Ensures, between calls:

1. Every item is in exactly one of the open batch, ``ready`` and the reservations;
   ``items`` and ``bytes`` count them all.
2. ``detour`` is true where the next item may not simply be taken from the left
   of ``arrived``, which is ``ready.arrived``.
3. ``reservations`` holds those with the queue's own timeout, in the order in
   which they end; ``timed`` holds the others, which have deadlines of their own.
4. Nobody waits in line while an item is ready, the batch is settled and the
   consumer may hold one more.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Any

from redqueue.engine.consumer import Consumer, Reservation, Waiter
from redqueue.engine.delayed import Delayed
from redqueue.engine.ledger import Ledger
from redqueue.engine.ready import Ready
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_EXPIRY, ID_FIELD, PUT, PUT_HEAD, PUT_SIZE

IDLE_SECONDS = 10.0
"""An empty, unused queue is forgotten after this long, with its statistics."""
SWEEP_SECONDS = 1.0
"""Expired items behind a head that lives on are looked for this often."""
SWEEP_MOST = 1000
"""Expired items dropped from a queue in one go."""

_pack_put = PUT_HEAD.pack


class Queue:
    """One queue. Made by :meth:`redqueue.engine.broker.Broker.open`.

    :param ledger: what it shares with all other queues
    :param number: stands for it in the journal
    :param on_unused: called when it has been empty and unused for a while
    """

    __slots__ = (
        "_on_unused",
        "abandoned",
        "arrived",
        "bytes",
        "cancelled",
        "created",
        "deadline",
        "delayed",
        "detour",
        "expired",
        "flushes",
        "items",
        "ledger",
        "mortal",
        "name",
        "number",
        "number_high",
        "number_low",
        "ready",
        "reservations",
        "seen_items",
        "settings",
        "timed",
        "timed_out",
        "total_items",
        "total_reserved",
        "unsettled",
        "waiters",
    )

    def __init__(self, ledger: Ledger, name: bytes, number: int, on_unused: Callable[[Queue], None]) -> None:
        self._on_unused = on_unused
        self.ledger = ledger
        self.name = name
        self.number = number
        self.number_high = number >> 32
        self.number_low = number & 0xFFFFFFFF
        self.settings = ledger.settings
        self.ready = Ready()
        self.arrived = self.ready.arrived
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.delayed: dict[Delayed, None] = {}
        self.detour = False
        self.unsettled = 0
        self.mortal = 0
        self.deadline: float | None = None
        self.seen_items = 0
        self.items = 0
        self.bytes = 0
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

    # -- puts ---------------------------------------------------------------

    def put(self, payload: bytes, flags: int, expires: int, receipt: Any, delay: float = 0.0) -> bool:
        """Append an item.

        :param payload: the item's bytes
        :param flags: 32-bit client flags
        :param expires: wall-clock nanoseconds at which its TTL passes, 0 for never
        :param receipt: handed back by ``rollback`` if the journal cannot take it
        :param delay: seconds before it is ready
        :returns: False where the queue is full or the server takes no items
        :raises StorageFailed: when the journal has failed
        """
        ledger = self.ledger
        size = len(payload)
        if ledger.refusing or (self.settings.bounded and self._full(size)):
            ledger.check_storage()
            return False
        ledger.last_id = item_id = ledger.last_id + 1
        if expires:
            record = rec.put(self.number, item_id, ledger.clock.wall, flags, payload, expires)
            self._expect_expiry(expires)
        else:
            record = (
                _pack_put(PUT, 0, self.number_high, self.number_low, item_id, ledger.clock.wall, flags, size) + payload
            )
        self.items += 1
        self.bytes += size
        ledger.journal_put(record)
        if delay:
            self._put_later(record, delay, receipt)
        else:
            ledger.puts.append((self, record, receipt))
        return True

    def _put_later(self, record: bytes, delay: float, receipt: Any) -> None:
        def commit() -> None:
            self.total_items += 1
            self._delay(record, 0, delay)

        self.ledger.effect(commit, lambda: self.discount(record), receipt)

    def _delay(self, record: bytes, deliveries: int, seconds: float) -> None:
        delayed = Delayed(self, record, deliveries)
        self.delayed[delayed] = None
        self.ledger.deadlines.set(delayed, self.ledger.clock.now + seconds)

    def end_delay(self, delayed: Delayed) -> None:
        """An item is ready now."""
        del self.delayed[delayed]
        self._insert(delayed.record, delayed.deliveries)

    def put_first(self, payload: bytes, flags: int, expires: int, receipt: Any, delay: float = 0.0) -> bool:
        """Put an item at the head, the next one out. Arguments and result as :meth:`put`."""
        ledger = self.ledger
        if ledger.refusing or (self.settings.bounded and self._full(len(payload))):
            ledger.check_storage()
            return False
        ledger.last_id += 1
        place = self.ready.front_place()
        record = rec.put(self.number, ledger.last_id, ledger.clock.wall, flags, payload, expires, place)
        if expires:
            self._expect_expiry(expires)
        self.items += 1
        self.bytes += len(payload)
        ledger.journal_put(record)
        if delay:
            self._put_later(record, delay, receipt)
            return True

        def commit() -> None:
            self.total_items += 1
            self._insert(record, 0)

        ledger.effect(commit, lambda: self.discount(record), receipt)
        return True

    def _full(self, size: int) -> bool:
        settings = self.settings
        if settings.max_items and self.items >= settings.max_items:
            return True
        return bool(settings.max_bytes and self.bytes + size > settings.max_bytes)

    def head(self) -> bytes | None:
        """The record of the ready head, or None; expired items are dropped on the way."""
        while True:
            record = self.ready.first()
            if record is None or not self._is_expired(record):
                return record
            self._drop_first()

    def rewrite_head(self, payload: bytes, flags: int, expires: int, receipt: Any) -> None:
        """Give the ready head another payload, flags and expiry, at its place and with its id.

        The caller has seen by :meth:`head` that there is one. Until the batch is
        committed the queue is unsettled: nobody reserves from it.

        :raises StorageFailed: when the journal has failed
        """
        ledger = self.ledger
        ledger.check_storage()
        old = self.ready.first()
        assert old is not None
        new = rec.replaced(old, self.number, payload, flags, expires)
        ledger.append(new)
        self._substitute(old, new)
        self.unsettle()
        if expires:
            self._wake_at(expires)
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
        ledger.journal_ack(record[ID_FIELD])

        def rollback() -> None:
            self._count(record)
            self._insert(record, deliveries - 1)

        ledger.effect(lambda: None, rollback, receipt)

    def _substitute(self, old: bytes, new: bytes) -> None:
        if not self.ready.substitute(old, new):
            return
        self.bytes += rec.payload_size(new) - rec.payload_size(old)
        self.mortal += (new[1] & HAS_EXPIRY) - (old[1] & HAS_EXPIRY)

    def restore_items(self, records: list[bytes]) -> None:
        """Take items from the journal's replay, in the order of their places; drop those that have expired."""
        if any(record[1] for record in records):
            for record in records:
                self._restore_item(record)
        else:
            self.arrived.extend(records)
            self.items += len(records)
            self.bytes += sum(map(len, records)) - PUT_SIZE * len(records)

    def _restore_item(self, record: bytes) -> None:
        self._count(record)
        if self._is_expired(record):
            self._expire_item(record)
            return
        self.ready.restore(record)
        self.detour = bool(self.ready.returned)
        if record[1] & HAS_EXPIRY:
            self._wake_at(rec.expires(record))

    # -- the batch ----------------------------------------------------------

    def unsettle(self) -> None:
        """Nobody reserves from this queue before the open batch is committed."""
        self.unsettled = self.ledger.batch
        self.detour = True

    def is_settled(self) -> bool:
        """Whether all that the head depends on is in the journal."""
        return self.unsettled <= self.ledger.committed

    def settle(self) -> None:
        """A batch that touched the head is committed."""
        if self.is_settled():
            self.detour = bool(self.ready.returned)
            self.serve()

    def _count(self, record: bytes) -> None:
        """An item is here (again), and about to go into a container."""
        self.items += 1
        self.bytes += rec.payload_size(record)
        self.mortal += record[1] & HAS_EXPIRY

    def discount(self, record: bytes) -> None:
        """An item that is in no container is no more."""
        self.items -= 1
        self.bytes -= rec.payload_size(record)
        self.mortal -= record[1] & HAS_EXPIRY
        self.rest_if_empty()

    # -- reservations -------------------------------------------------------

    @property
    def reserved(self) -> int:
        """How many items are reserved."""
        return len(self.reservations) + len(self.timed)

    def reserve(self, consumer: Consumer, timeout: float | None = None) -> Reservation | None:
        """Hand the head to ``consumer``.

        :param timeout: seconds until the sweeper takes the item back; None for
            the queue's ``reserve_timeout``
        :returns: None where nothing is ready, or the consumer already holds
            ``prefetch`` items of this queue
        """
        held = consumer.held.get(self.name)
        if held is not None and len(held) >= self.settings.prefetch:
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
        if not self.is_settled():
            return None
        record = self.head()
        if record is None:
            self.detour = bool(self.ready.returned)
            return None
        record, deliveries = self.ready.take_first()
        self.detour = bool(self.ready.returned)
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
            self.mortal -= record[1] & HAS_EXPIRY
        else:
            self.bytes -= len(record) - PUT_SIZE
        ledger.journal_ack(record[8:16])
        ledger.acks.append((reservation, consumer, receipt))
        if not self.items and (self.deadline is None or self.deadline > ledger.clock.now + IDLE_SECONDS):
            self.rest_if_empty()

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
        self._count(reservation.record)
        if consumer.closed:
            self._insert(reservation.record, reservation.deliveries)
            return
        reservation.consumer = consumer
        consumer.held.setdefault(self.name, []).insert(0, reservation)
        self.timed.add(reservation)
        if reservation.token:
            self.ledger.tokens[reservation.token] = reservation
        self.ledger.deadlines.set(reservation, reservation.ends)

    def give_back(self, reservation: Reservation) -> None:
        """The connection closed: ready again at the old place."""
        self.abandoned += 1
        self._return(reservation)

    def cancel(self, reservation: Reservation, delay: float = 0.0) -> None:
        """The consumer gives the item back: ready again at the old place, ``delay`` seconds from now."""
        self.cancelled += 1
        if delay:
            self._release(reservation)
            self._delay(reservation.record, reservation.deliveries, delay)
        else:
            self._return(reservation)

    def time_out(self, reservation: Reservation) -> None:
        """The deadline of the reservation passed: ready again at the old place."""
        self.timed_out += 1
        self._return(reservation)

    def _return(self, reservation: Reservation) -> None:
        self._release(reservation)
        self._insert(reservation.record, reservation.deliveries)

    def touch(self, reservation: Reservation, seconds: float | None) -> None:
        """The reservation now ends ``seconds`` from now; None for the queue's default."""
        ledger = self.ledger
        reservation.ends = ledger.clock.now + (self.settings.reserve_timeout if seconds is None else seconds)
        self.reservations.pop(reservation, None)
        self.timed.add(reservation)
        ledger.deadlines.set(reservation, reservation.ends)

    def _insert(self, record: bytes, deliveries: int) -> None:
        """An item is ready (again) at its own place."""
        self.ready.insert(record, deliveries)
        self.detour = True
        if record[1] & HAS_EXPIRY:
            self._wake_at(rec.expires(record))
        self.serve()

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
        while self.waiters and self.is_settled() and self.head() is not None:
            waiter, _ = self.waiters.popitem(last=False)
            assert waiter.consumer is not None
            waiter.serve(self, self.reserve(waiter.consumer, waiter.timeout))
            self.rest_if_empty()

    # -- time ---------------------------------------------------------------

    def _is_expired(self, record: bytes) -> bool:
        return bool(record[1] & HAS_EXPIRY) and rec.expires(record) <= self.ledger.clock.wall

    def _expire_item(self, record: bytes) -> None:
        """Drop an item that is in no container any more."""
        self.expired += 1
        self.discount(record)
        self.ledger.journal_ack(record[ID_FIELD])
        self.ledger.housekeeping()

    def _expect_expiry(self, expires: int) -> None:
        self.mortal += 1
        self._wake_at(expires)

    def _wake_at(self, moment: int) -> None:
        """Be woken at a wall-clock moment (nanoseconds), or before."""
        ledger = self.ledger
        when = ledger.clock.now + max(0.0, (moment - ledger.clock.wall) / 1e9)
        if self.deadline is None or when < self.deadline:
            ledger.deadlines.set(self, when)

    def expire(self, now: float) -> None:
        """Woken: sweep what is over, and let the broker forget a queue that nobody uses."""
        unused = self.total_items == self.seen_items and not self._in_use()
        wakes = [self._sweep_reservations(now), self._sweep_expired(now)]
        if not self._in_use():
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
                return math.inf
            if not record[1] & HAS_EXPIRY:
                return now + SWEEP_SECONDS if self.mortal else math.inf
            left = (rec.expires(record) - self.ledger.clock.wall) / 1e9
            if left > 0:
                return now + left
            self._drop_first()
        return now

    def _in_use(self) -> bool:
        return bool(self.items or self.waiters)

    def rest_if_empty(self) -> None:
        """Begin the time after which a queue that stays empty and unused is forgotten."""
        if self._in_use():
            return
        when = self.ledger.clock.now + IDLE_SECONDS
        if self.deadline is None or when < self.deadline:
            self.seen_items = self.total_items
            self.ledger.deadlines.set(self, when)

    # -- the head -----------------------------------------------------------

    def _drop_first(self) -> None:
        self._expire_item(self.ready.take_first()[0])

    def deliveries(self, record: bytes) -> int:
        """How often the ready item of ``record`` was delivered before."""
        return next((deliveries for _, other, deliveries in self.ready.returned if other is record), 0)

    def peek(self, index: int) -> bytes | None:
        """The record of the ``index``-th ready item, from 0, without reserving it; None where there is none.

        Expired items are not shown and not counted.
        """
        if index == 0:
            return self.head()
        if not self.mortal and not self.ready.returned:
            return self.arrived[index] if index < len(self.arrived) else None
        alive = (record for record in self.ready if not self._is_expired(record))
        return next(islice(alive, index, None), None)

    # -- the whole queue ----------------------------------------------------

    def drop_below(self, below: int) -> list[bytes]:
        """Drop every item with an id under ``below``, reserved ones included.

        :returns: the records dropped
        """
        bar = below.to_bytes(8, "big")
        self.flushes += 1
        dropped = self.ready.drop_below(bar)
        for reservation in (*self.reservations, *self.timed):
            if reservation.record[ID_FIELD] < bar:
                self._release(reservation)
                dropped.append(reservation.record)
        for delayed in list(self.delayed):
            if delayed.record[ID_FIELD] < bar:
                del self.delayed[delayed]
                self.ledger.deadlines.clear(delayed)
                dropped.append(delayed.record)
        self.items -= len(dropped)
        if self.items:
            self.bytes -= sum(map(rec.payload_size, dropped))
            self.mortal -= sum(record[1] & HAS_EXPIRY for record in dropped)
        else:
            self.bytes = self.mortal = 0
        self.detour = bool(self.ready.returned) or not self.is_settled()
        self.rest_if_empty()
        return dropped

    def age(self) -> float:
        """Seconds that the head has been in the queue; 0 where nothing is ready."""
        record = self.ready.first()
        if record is None:
            return 0.0
        return max(0.0, (self.ledger.clock.wall - rec.time(record)) / 1e9)
