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
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from redqueue.engine.arrival import Arrival
from redqueue.engine.consumer import Consumer, Reservation, Waiter
from redqueue.engine.delayed import Delayed
from redqueue.engine.ledger import ITEM_COST, Ledger, StorageFailed
from redqueue.engine.ready import Ready
from redqueue.engine.settings import DROP_OLDEST
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_EXPIRY, HAS_PLACE, PUT, PUT_HEAD, PUT_SIZE

IDLE_SECONDS = 10.0
"""An empty, unused queue is forgotten after this long, with its statistics."""
SWEEP_SECONDS = 1.0
"""Expired items behind a head that lives on are looked for this often."""
SWEEP_MOST = 1000
"""Expired items dropped from a queue in one go."""
LOAD_MOST = 512
"""Items read back from the journal in one go."""

_pack_put = PUT_HEAD.pack
_from_bytes = int.from_bytes


class Queue:
    """One queue. Made by :meth:`redqueue.engine.broker.Broker.open`.

    :param ledger: what it shares with all other queues
    :param number: stands for it in the journal
    :param on_unused: called when it has been empty and unused for a while
    """

    __slots__ = (
        "_load",
        "_on_loaded",
        "_on_unused",
        "_refill_below",
        "abandoned",
        "arrived",
        "bytes",
        "cancelled",
        "children",
        "cold_cost",
        "cold_items",
        "created",
        "dead_letters",
        "deadline",
        "delayed",
        "detour",
        "discarded",
        "expired",
        "fields",
        "flushed",
        "flushes",
        "items",
        "ledger",
        "mortal",
        "name",
        "number",
        "number_high",
        "number_low",
        "paused",
        "ready",
        "reservations",
        "seen_items",
        "settings",
        "special",
        "timed",
        "timed_out",
        "total_items",
        "total_reserved",
        "uncommitted",
        "unreadable",
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
        self.settings = ledger.book.of(name)
        self.children: tuple[bytes, ...] = ()
        self.special = self.settings.examines_puts
        self.paused = False
        self.ready = Ready()
        self.arrived = self.ready.arrived
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.detour = False
        self.unsettled = 0
        self.mortal = 0
        self.fields = 0
        self.cold_cost = 0
        self.cold_items = 0
        self.flushed = 0
        self.unreadable = ""
        self._load: object = None
        self._refill_below = 0
        self._on_loaded: list[Callable[[], None]] = []
        self.uncommitted: list[bytes] = []
        self.deadline: float | None = None
        self.seen_items = 0
        self.items = 0
        self.bytes = 0
        self.reservations: dict[Reservation, None] = {}
        self.timed: set[Reservation] = set()
        self.delayed: Delayed | None = None
        self.created = ledger.clock.wall
        self.total_items = 0
        self.total_reserved = 0
        self.expired = 0
        self.timed_out = 0
        self.abandoned = 0
        self.cancelled = 0
        self.flushes = 0
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

    def delay(self, record: bytes, due: float, deliveries: int) -> None:
        """Keep an item that is in no container from being ready before the monotonic moment ``due``."""
        self._delayed_items().add(record, due, deliveries)

    def _delayed_items(self) -> Delayed:
        if self.delayed is None:
            self.delayed = Delayed(self.ledger.deadlines, self._insert, self._insert_cold)
        return self.delayed

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
        ledger.journal_ack(record)

        def rollback() -> None:
            self._count(record)
            self._insert(record, deliveries - 1)

        ledger.effect(lambda: None, rollback, receipt)

    def _substitute(self, old: bytes, new: bytes) -> None:
        if not self.ready.substitute(old, new):
            return
        self.bytes += rec.payload_size(new) - rec.payload_size(old)
        self.fields += rec.payload_offset(new) - rec.payload_offset(old)
        self.mortal += (new[1] & HAS_EXPIRY) - (old[1] & HAS_EXPIRY)

    def restore_items(self, ids: array[int], heads: list[bytes], payload_bytes: int, fields: int, mortal: int) -> None:
        """Take the living items of the journal's replay, none of them in memory.

        :param ids: of those whose place is their id, in ascending order
        :param heads: the records of the others, without their payloads
        :param payload_bytes: bytes of payload of all
        :param fields: bytes of attributes' fields of all
        :param mortal: how many of all have an expiry
        """
        self.ready.backlog.extend(ids)
        for head in heads:
            self._restore_special(head)
        self.items += len(ids) + len(heads)
        self.bytes += payload_bytes
        self.fields += fields
        self._cool(self.items, self.stored)
        self.detour = True
        if mortal:
            self.mortal += mortal
            self._wake_at(self.ledger.clock.wall)
        self.read_back()

    def _restore_special(self, head: bytes) -> None:
        ledger = self.ledger
        place, losses = rec.place(head), rec.deliveries(head)
        if head[1] & HAS_PLACE:
            ledger.last_id = max(ledger.last_id, place)
        left = rec.ready_at(head) - ledger.clock.wall
        if left > 0:
            self.ready.know_place(place)
            self._delayed_items().add_cold(rec.item_id(head), place, ledger.clock.now + left / 1e9, losses)
        else:
            self.ready.insert_cold(rec.item_id(head), place, losses)

    @property
    def stored(self) -> int:
        """Bytes of the records of all items."""
        return self.bytes + PUT_SIZE * self.items + self.fields

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
            self.detour = self._must_detour()
            self.serve()

    def _must_detour(self) -> bool:
        """Whether the next item is not simply the leftmost of ``arrived``, or soon will not be."""
        return bool(self.ready.returned or self.ready.backlog) or self.paused

    def _count(self, record: bytes) -> None:
        """An item is here (again), and about to go into a container."""
        self.items += 1
        self.bytes += rec.payload_size(record)
        self.fields += rec.payload_offset(record) - PUT_SIZE
        self.mortal += record[1] & HAS_EXPIRY

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
        """The connection closed: ready again at the old place, unless the settings say otherwise."""
        self.abandoned += 1
        self._return(reservation, is_loss=True)

    def cancel(self, reservation: Reservation, delay: float = 0.0) -> None:
        """The consumer gives the item back: ready again at the old place, after ``delay`` seconds."""
        self.cancelled += 1
        self._return(reservation, delay)

    def time_out(self, reservation: Reservation) -> None:
        """The deadline of the reservation passed: ready again at the old place, unless the settings say otherwise."""
        self.timed_out += 1
        self._return(reservation, is_loss=True)

    def _return(self, reservation: Reservation, delay: float = 0.0, is_loss: bool = False) -> None:
        self._release(reservation)
        if delay or self.settings.examines_returns:
            self.ledger.put_back(self, reservation.record, reservation.deliveries, delay, is_loss)
        else:
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
        while self.waiters and not self.paused and self.is_settled() and self.head() is not None:
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
        self.ledger.journal_ack(record)
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

    def _in_use(self) -> bool:
        return bool(self.items or self.waiters or self.paused)

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
        """How often the ready item of ``record``, which is in memory, was delivered before."""
        return self.ready.deliveries(record)

    def peek(self, index: int) -> bytes | int | None:
        """The ``index``-th ready item, from 0, without reserving it: its record, or its id where it is not in memory.

        Expired items are not shown; those that are in memory are not counted either. None where there is none.
        """
        if index == 0 and self.head() is None:
            return self.ready.peek(0)
        if not self.mortal:
            return self.ready.peek(index)
        alive = filter(self._is_shown, self.ready)
        return next(islice(alive, index, None), None)

    def _insert_cold(self, item_id: int, place: int, deliveries: int) -> None:
        """An item that is not in memory is ready (again) at its own place."""
        self.ready.insert_cold(item_id, place, deliveries)
        self.detour = True
        self.serve()

    def _is_shown(self, item: bytes | int) -> bool:
        """Whether a peek shows an item: not where its record, if it is in memory, says that it has expired."""
        return not (isinstance(item, bytes) and self._is_expired(item))

    # -- memory -------------------------------------------------------------

    @property
    def cold_bytes(self) -> int:
        """Bytes of payload that are not in memory, fields of attributes included."""
        return self.cold_cost - (ITEM_COST + PUT_SIZE) * self.cold_items

    def add_to_backlog(self, record: bytes) -> None:
        """An item has arrived behind those that are not in memory."""
        self.ready.backlog.append(_from_bytes(record[8:16], "big"))
        cost = len(record) + ITEM_COST
        self.cold_items += 1
        self.cold_cost += cost
        self.ledger.cold_cost += cost

    def evict(self, most: int, share: int) -> int:
        """Put items out of memory, those that will be delivered last first.

        :param most: no more than so many
        :param share: bytes that the queue may keep there
        :returns: how many
        """
        if self._load is not None or self.cold_items == self.items or self.settings.overflow == DROP_OLDEST:
            return 0  # what may have to be dropped at any moment stays at hand; its limits bound it
        records = self.delayed.evict(most) if self.delayed is not None else []
        if not records:
            records = self.ready.evict(self._fitting(share), most)
        if records:
            self._refill_below = (self._window() + 1) // 2
            self._cool(len(records), sum(map(len, records)))
            self.detour = True
        return len(records)

    def is_reading_back(self, consumer: Consumer) -> bool:
        """Whether ``consumer`` could have the head if it were in memory; it is being read back then.

        :raises StorageFailed: where it cannot be read
        """
        if self.unreadable:
            reason, self.unreadable = self.unreadable, ""
            self._load = None  # the attempt that this request has begun: the next one begins its own
            raise StorageFailed(reason)
        if self.paused or not len(self.ready) or not self.is_settled() or self.head() is not None:
            return False
        held = consumer.held.get(self.name)
        return len(self.ready) > 0 and (held is None or len(held) < self.settings.prefetch)

    def when_read_back(self, then: Callable[[], None]) -> None:
        """Have ``then`` called once what is being read back is here, or cannot be read."""
        self._on_loaded.append(then)

    def read_back(self) -> None:
        """Begin to read the next items back that are not in memory, unless that is under way."""
        if self._load is not None:
            return
        window = self._window()
        self._refill_below = (window + 1) // 2
        ids, of_backlog = self.ready.missing(window)
        if ids:
            self._load = load = object()
            self.ledger.journal.read(ids, partial(self._read_back, load, ids, of_backlog))

    def _read_back(
        self, load: object, ids: list[int], of_backlog: bool, records: list[bytes] | None, error: BaseException | None
    ) -> None:
        self.ledger.clock.tick()
        if self._load is load:
            self._load = None
            if records is None:
                self.unreadable = str(error)
                self.ledger.on_unreadable(self.name, error)
                sweep_at = self.ledger.clock.now + SWEEP_SECONDS
            else:
                self.ready.take_in(ids, records, of_backlog)
                self._cool(-len(records), -sum(map(len, records)))
                self.detour = self._must_detour() or not self.is_settled()
                self.serve()
                sweep_at = self.ledger.clock.now
                if self.settings.overflow == DROP_OLDEST:
                    self.read_back()
            if self.mortal and (self.deadline is None or self.deadline > sweep_at):
                self.ledger.deadlines.set(self, sweep_at)
        waiting, self._on_loaded = self._on_loaded, []
        for then in waiting:
            then()

    def _cool(self, items: int, size: int) -> None:
        """So many records of ``size`` bytes in all are not in memory any more (are back, if negative)."""
        before = self.cold_cost
        cost = size + ITEM_COST * items
        self.cold_items += items
        self.cold_cost += cost
        self.ledger.cold_cost += cost
        if not before or not self.cold_cost:
            self.ledger.cold_queues += bool(self.cold_cost) - bool(before)

    def _window(self) -> int:
        """How many items of a backlog may be in memory."""
        return min(LOAD_MOST, self._fitting(self.ledger.window()))

    def _fitting(self, memory: int) -> int:
        """How many of its items take so many bytes of memory, one at least."""
        return max(1, memory // (self.bytes // max(1, self.items) + PUT_SIZE + ITEM_COST))

    # -- for the rules that have modules of their own (admission, losses, dead_letters) ----------

    insert = _insert
    count = _count
    wake_at = _wake_at
    in_use = _in_use

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
        self.items = self.bytes = self.fields = self.mortal = 0
        for record in chain(kept, self._uncommitted()):
            self._count(record)
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

    def age(self) -> float:
        """Seconds that the head has been in the queue; 0 where nothing is ready."""
        record = self.ready.first()
        if record is None:
            return 0.0
        return max(0.0, (self.ledger.clock.wall - rec.time(record)) / 1e9)


def _nothing() -> None:
    """What success changes, where everything has been changed already."""
