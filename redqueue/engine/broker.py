"""All queues by name, and what concerns more than one of them."""

from __future__ import annotations

import enum
from typing import Any

from redqueue.engine.clock import Clock
from redqueue.engine.journal import Journal
from redqueue.engine.ledger import Batch, Ledger
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec


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

    :ivar queues: by name; a name without a queue has no entry
    :ivar total_items: items put since the start or the last ``stats reset``
    """

    def __init__(self, settings: QueueSettings, clock: Clock, journal: Journal) -> None:
        super().__init__(settings, clock, journal)
        self.queues: dict[bytes, Queue] = {}
        self.total_items = 0

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
        if self.queues.get(queue.name) is not queue:
            return  # it was forgotten before, while a flush that touched it was on its way to the journal
        del self.queues[queue.name]
        self.journal.close_queue(queue.number)

    def restore(self, name: bytes, records: list[bytes]) -> None:
        """Put items back that the journal has kept, in the order of their places.

        Expired items are dropped. Call before anything else uses the broker.
        """
        self.open(name).restore_items(records)

    # -- the batch ----------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """The journal has the batch: its items are ready, waiters are served."""
        self.committed = batch.number
        for queue, record, _ in batch.puts:
            queue.total_items += 1
            queue.arrived.append(record)
            if queue.waiters:
                queue.serve()
        self.total_items += len(batch.puts)
        for commit, _, _ in batch.effects:
            commit()

    def rollback(self, batch: Batch) -> list[Any]:
        """The journal could not take the batch: nothing of it has happened.

        :returns: the receipts of the requests that failed, None where there was none
        """
        self.committed = batch.number
        for _, rollback, _ in reversed(batch.effects):
            rollback()
        for reservation, consumer, _ in reversed(batch.acks):
            reservation.queue.restore(reservation, consumer)
        for queue, record, _ in batch.puts:
            queue.discount(record)
        for queue in list(self.queues.values()):
            queue.settle()
        return [entry[2] for entry in (*batch.puts, *batch.acks, *batch.effects)]

    # -- rare verbs ---------------------------------------------------------

    def swap(
        self, token: int, name: bytes, payload: bytes, flags: int, expires: int | None, receipt: Any, delay: float = 0.0
    ) -> Swap:
        """Acknowledge the reservation ``token`` and append an item to ``name``: both or neither.

        :param expires: as for :meth:`Queue.put`; None for an item that has
            expired already, which is acknowledged into nothing
        :param delay: seconds before the item is ready
        :raises StorageFailed: when the journal has failed
        """
        reservation = self.tokens.get(token)
        if reservation is None:
            return Swap.LOST if self.was_given(token) else Swap.UNKNOWN
        source = reservation.queue
        self.check_storage()
        if expires is not None:
            queue = self.open(name)
            freed = 1 if queue is source else 0
            freed_bytes = freed * rec.payload_size(reservation.record)
            queue.items -= freed
            queue.bytes -= freed_bytes
            taken = queue.put(payload, flags, expires, receipt, delay)
            queue.items += freed
            queue.bytes += freed_bytes
            if not taken:
                return Swap.REFUSED
        source.acknowledge(reservation, receipt)
        return Swap.STORED

    def flush(self, queue: Queue, receipt: Any) -> None:
        """Drop every item of ``queue`` that is there now, reserved ones included.

        :raises StorageFailed: when the journal has failed
        """
        self.check_storage()
        below = self.last_id + 1
        self.append(rec.drop(queue.number, below))
        queue.unsettle()

        def commit() -> None:
            self.journal.bury(queue.drop_below(below))
            queue.settle()

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
            queue.unsettle()

        def commit() -> None:
            for queue in queues:
                self.journal.bury(queue.drop_below(below))
                queue.settle()

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
