"""What is in a queue: its ready and delayed items, how many they are, and which of them are in memory.

A queue has a window of its first items in memory. What is behind them may be on
the disk only, and is read back before its turn comes; what is wanted before it
is here has to wait.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from redqueue.engine.consumer import Consumer
from redqueue.engine.delayed import Delayed
from redqueue.engine.ledger import ITEM_COST, Ledger, StorageFailed
from redqueue.engine.ready import Ready
from redqueue.engine.settings import DROP_OLDEST
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_EXPIRY, HAS_PLACE, PUT_SIZE

SWEEP_SECONDS: Final = 1.0
"""Expired items behind a head that lives on are looked for this often."""
LOAD_MOST: Final = 512
"""Items read back from the journal in one go."""

_from_bytes: Final = int.from_bytes


class Contents:
    """The items of a queue that nobody holds.

    :param ledger: what it shares with all other queues
    :param name: of the queue

    :ivar items: how many there are, reserved ones and those of the open batch included
    :ivar bytes: of payload, of all those
    :ivar fields: bytes of attributes' fields in the records of all those
    :ivar mortal: how many of them have an expiry
    :ivar cold_items: how many are not in memory
    :ivar cold_cost: what the records of those would cost there, bytes
    """

    __slots__ = (
        "_load",
        "_on_loaded",
        "_refill_below",
        "arrived",
        "bytes",
        "cold_cost",
        "cold_items",
        "deadline",
        "delayed",
        "detour",
        "fields",
        "items",
        "ledger",
        "mortal",
        "name",
        "paused",
        "ready",
        "settings",
        "unreadable",
        "unsettled",
    )

    def __init__(self, ledger: Ledger, name: bytes) -> None:
        self.ledger = ledger
        self.name = name
        self.settings = ledger.book.of(name)
        self.ready = Ready()
        self.arrived = self.ready.arrived
        self.delayed: Delayed | None = None
        self.detour = False
        self.paused = False
        self.unsettled = 0
        self.deadline: float | None = None
        self.items = 0
        self.bytes = 0
        self.fields = 0
        self.mortal = 0
        self.cold_items = 0
        self.cold_cost = 0
        self.unreadable = ""
        self._load: object = None
        self._refill_below = 0
        self._on_loaded: list[Callable[[], None]] = []

    # -- for the queue to say -------------------------------------------------

    def head(self) -> bytes | None:
        """The record of the ready head, or None."""
        raise NotImplementedError

    def serve(self) -> None:
        """Hand ready items to those who wait."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    # -- items that come --------------------------------------------------------

    def delay(self, record: bytes, due: float, deliveries: int) -> None:
        """Keep an item that is in no container from being ready before the monotonic moment ``due``."""
        self._delayed_items().add(record, due, deliveries)

    def _delayed_items(self) -> Delayed:
        if self.delayed is None:
            self.delayed = Delayed(self.ledger.deadlines, self.insert, self._insert_cold)
        return self.delayed

    def insert(self, record: bytes, deliveries: int) -> None:
        """An item is ready (again) at its own place."""
        self.ready.insert(record, deliveries)
        self.detour = True
        if record[1] & HAS_EXPIRY:
            self.wake_at(rec.expires(record))
        self.serve()

    def _insert_cold(self, item_id: int, place: int, deliveries: int) -> None:
        """An item that is not in memory is ready (again) at its own place."""
        self.ready.insert_cold(item_id, place, deliveries)
        self.detour = True
        self.serve()

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
            self.wake_at(self.ledger.clock.wall)
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

    def count(self, record: bytes) -> None:
        """An item is here (again), and about to go into a container."""
        self.items += 1
        self.bytes += rec.payload_size(record)
        self.fields += rec.payload_offset(record) - PUT_SIZE
        self.mortal += record[1] & HAS_EXPIRY

    @property
    def stored(self) -> int:
        """Bytes of the records of all items."""
        return self.bytes + PUT_SIZE * self.items + self.fields

    # -- the head --------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether all that the head depends on is in the journal."""
        return self.unsettled <= self.ledger.committed

    def _must_detour(self) -> bool:
        """Whether the next item is not simply the leftmost of ``arrived``, or soon will not be."""
        return bool(self.ready.returned or self.ready.backlog) or self.paused

    def _is_expired(self, record: bytes) -> bool:
        return bool(record[1] & HAS_EXPIRY) and rec.expires(record) <= self.ledger.clock.wall

    def wake_at(self, moment: int) -> None:
        """Be woken at a wall-clock moment (nanoseconds), or before."""
        ledger = self.ledger
        when = ledger.clock.now + max(0.0, (moment - ledger.clock.wall) / 1e9)
        if self.deadline is None or when < self.deadline:
            ledger.deadlines.set(self, when)

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

    def _is_shown(self, item: bytes | int) -> bool:
        """Whether a peek shows an item: not where its record, if it is in memory, says that it has expired."""
        return not (isinstance(item, bytes) and self._is_expired(item))

    def age(self) -> float:
        """Seconds that the head has been in the queue; 0 where nothing is ready."""
        record = self.ready.first()
        if record is None:
            return 0.0
        return max(0.0, (self.ledger.clock.wall - rec.time(record)) / 1e9)

    # -- memory ------------------------------------------------------------------

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
        return len(self.ready) > 0 and (held is None or len(held) < (consumer.prefetch or self.settings.prefetch))

    def is_bringing_in(self, item_id: int) -> bool:
        """Whether a ready item is being read back: not where it is in memory, or is no ready item.

        :raises StorageFailed: where it cannot be read
        """
        if self.unreadable:
            reason, self.unreadable = self.unreadable, ""
            raise StorageFailed(reason)
        if self._load is not None:
            return True
        found = self.ready.remove(item_id)
        if found is None:
            return False
        place, entry, deliveries = found
        self.detour = True
        if not isinstance(entry, int):
            self.ready.insert(entry, deliveries)
            return False
        self.ready.insert_cold(item_id, place, deliveries)
        self._load = load = object()
        self.ledger.journal.read([item_id], partial(self._read_back, load, [item_id], False))
        return True

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
