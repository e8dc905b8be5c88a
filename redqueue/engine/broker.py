"""All queues by name, and what concerns more than one of them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from itertools import chain
from typing import Any

from redqueue.engine.clock import Clock
from redqueue.engine.journal import Journal
from redqueue.engine.ledger import Batch, Ledger
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec

EVICT_MOST = 2000
"""Items put out of memory in one turn."""
EVICT_QUEUES = 1000
"""Queues looked at for that in one turn."""


class Swap(enum.Enum):
    """How a swap ended."""

    STORED = enum.auto()
    LOST = enum.auto()
    """The reservation had ended before."""
    UNKNOWN = enum.auto()
    """No such token was ever given."""
    REFUSED = enum.auto()
    """The queue is full or the server takes no items; the reservation stands."""


class Broker(Ledger):
    """The engine: every queue of a server.

    :param settings: the settings of all queues
    :param clock: tells the time
    :param journal: takes the records
    :param memory: bytes of items that all queues together may hold in memory; 0 for no limit

    :ivar queues: by name; a name without a queue has no entry
    :ivar total_items: items put since the start or the last ``stats reset``
    """

    def __init__(self, settings: QueueSettings, clock: Clock, journal: Journal, memory: int = 0) -> None:
        super().__init__(settings, clock, journal, memory)
        self.queues: dict[bytes, Queue] = {}
        self.total_items = 0
        self._hand: Iterator[Queue] = iter(())

    # -- queues -------------------------------------------------------------

    def open(self, name: bytes) -> Queue:
        """The queue ``name``, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = Queue(self, name, self.journal.open_queue(name), self.forget)
            self.queues[name] = queue
            queue.rest_if_empty()
        return queue

    def forget(self, queue: Queue) -> None:
        """An empty queue that nobody uses costs nothing from here on."""
        del self.queues[queue.name]
        self.journal.close_queue(queue.number)

    # -- the batch ----------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """The journal has the batch: its items are ready, waiters are served."""
        self.committed = batch.number
        for queue, record, _ in batch.puts:
            queue.total_items += 1
            if queue.cold_cost and queue.ready.backlog and queue.flushed != batch.number:
                queue.add_to_backlog(record)
                continue
            queue.arrived.append(record)
            if queue.waiters:
                queue.serve()
        self.total_items += len(batch.puts)
        for commit, _, _ in batch.effects:
            commit()
        if self.memory and self.hot_cost() > self.memory:
            self.evict()

    def rollback(self, batch: Batch, acks_kept: bool = False) -> list[Any]:
        """The journal could not take the batch: nothing of it has happened.

        :param acks_kept: except that the acknowledgements were written
        :returns: the receipts of the requests that failed, None where there was none
        """
        self.committed = batch.number
        for _, rollback, _ in reversed(batch.effects):
            rollback()
        acks = [] if acks_kept else batch.acks
        for reservation, consumer, _ in reversed(acks):
            reservation.queue.restore(reservation, consumer)
        for queue, record, _ in batch.puts:
            queue.discount(record)
        for queue in list(self.queues.values()):
            queue.settle()
        return [entry[2] for entry in (*batch.puts, *acks, *batch.effects)]

    # -- memory -------------------------------------------------------------

    def evict(self) -> None:
        """Put a bounded number of items out of memory, which is full, where a queue has more than its share there."""
        left, share = EVICT_MOST, self.share(len(self.queues))  # queues that have no backlog yet must make room, too
        for _ in range(EVICT_QUEUES):
            queue = next(self._hand, None)
            if queue is None:
                self._hand = iter([*self.queues.values()])
                queue = next(self._hand, None)
                if queue is None:
                    return
            left -= queue.evict(left, share)
            if left <= 0 or self.hot_cost() < self.memory:
                return

    # -- rare verbs ---------------------------------------------------------

    def swap(self, token: int, name: bytes, payload: bytes, flags: int, expires: int | None, receipt: Any) -> Swap:
        """Acknowledge the reservation ``token`` and append an item to ``name``: both or neither.

        :param expires: as for :meth:`Queue.put`; None for an item that has
            expired already, which is acknowledged into nothing
        :raises StorageFailed: when the journal has failed
        """
        reservation = self.tokens.get(token)
        if reservation is None:
            return Swap.LOST if self.was_given(token) else Swap.UNKNOWN
        source = reservation.queue
        self.check_space()
        if expires is not None:
            queue = self.open(name)
            freed = 1 if queue is source else 0
            freed_bytes = freed * rec.payload_size(reservation.record)
            queue.items -= freed
            queue.bytes -= freed_bytes
            taken = queue.put(payload, flags, expires, receipt)
            queue.items += freed
            queue.bytes += freed_bytes
            if not taken:
                return Swap.REFUSED
        source.acknowledge_with_put(reservation, receipt)
        return Swap.STORED

    def flush(self, queue: Queue, receipt: Any) -> None:
        """Drop every item of ``queue`` that is there now, reserved ones included.

        :raises StorageFailed: when the journal has failed
        """
        self.check_storage()
        below = self.last_id + 1
        self.append(rec.drop(queue.number, below))
        queue.expect_flush()

        def commit() -> None:
            self.journal.bury(*queue.drop_below(below))
            queue.settle()
            self.housekeeping()

        self.effect(commit, queue.settle, receipt)

    def flush_all(self, receipt: Any) -> None:
        """Drop every item of every queue that is there now, reserved ones included.

        :raises StorageFailed: when the journal has failed
        """
        self.check_storage()
        below = self.last_id + 1
        self.append(rec.wipe(below))
        queues = list(self.queues.values())
        for queue in queues:
            queue.expect_flush()

        def commit() -> None:
            items = stored = 0
            gone: list[Iterator[int]] = []
            for queue in queues:
                ids, dropped, size = queue.drop_below(below)
                gone.append(ids)
                items += dropped
                stored += size
                queue.settle()
            self.journal.bury_below(below, chain.from_iterable(gone), items, stored)
            self.housekeeping()

        self.effect(commit, lambda: None, receipt)

    def flush_all_later(self, seconds: float) -> None:
        """:meth:`flush_all`, ``seconds`` from now; a restart before that forgets it."""
        self.deadlines.set(_DelayedFlush(self), self.clock.now + seconds)

    # -- sums ---------------------------------------------------------------

    def sum_items(self) -> int:
        """Items in all queues, reserved ones included."""
        return sum(queue.items for queue in self.queues.values())

    def sum_bytes(self) -> int:
        """Bytes of payload in all queues, reserved items included."""
        return sum(queue.bytes for queue in self.queues.values())


class _DelayedFlush:
    __slots__ = ("broker", "deadline")

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.deadline: float | None = None

    def expire(self, now: float) -> None:
        if not self.broker.failure:
            self.broker.flush_all(None)
            self.broker.housekeeping()
