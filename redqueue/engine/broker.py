"""All queues by name, ids and tokens, and the batch that becomes one frame of the journal."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from redqueue.engine.clock import Clock
from redqueue.engine.consumer import Consumer, Reservation
from redqueue.engine.deadlines import Deadlines
from redqueue.engine.journal import Journal
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.engine.tokens import Tokens
from redqueue.journal import record as rec


class StorageFailed(Exception):
    """The journal has failed; the reason is the argument."""


class Swap(enum.Enum):
    """How a swap ended."""

    STORED = enum.auto()
    LOST = enum.auto()
    """The reservation had ended before."""
    UNKNOWN = enum.auto()
    """No such token was ever given."""
    REFUSED = enum.auto()
    """The queue is full or the server takes no items; the reservation stands."""


class Batch:
    """What has happened since the last batch and waits for its frame of the journal."""

    __slots__ = ("acks", "effects", "number", "puts")

    def __init__(
        self,
        number: int,
        puts: list[tuple[Queue, bytes, Any]],
        acks: list[tuple[Reservation, Consumer, Any]],
        effects: list[tuple[Callable[[], None], Callable[[], None], Any]],
    ) -> None:
        self.number = number
        self.puts = puts
        self.acks = acks
        self.effects = effects


class Broker:
    """The engine: every queue of a server.

    :param settings: the settings of all queues
    :param clock: tells the time
    :param journal: takes the records

    :ivar queues: by name; a name without a queue has no entry
    :ivar batch: number of the open batch
    :ivar committed: number of the last committed batch
    :ivar failure: why the journal takes nothing, in words; empty while it does
    :ivar on_append: called when something was journaled outside of a request
    """

    def __init__(self, settings: QueueSettings, clock: Clock, journal: Journal) -> None:
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.journal_put = journal.put
        self.journal_ack = journal.acknowledge
        self.append = journal.append
        self.deadlines = Deadlines()
        self.queues: dict[bytes, Queue] = {}
        self.last_id = 0
        self.batch = 1
        self.committed = 0
        self.puts: list[tuple[Queue, bytes, Any]] = []
        self.acks: list[tuple[Reservation, Consumer, Any]] = []
        self._effects: list[tuple[Callable[[], None], Callable[[], None], Any]] = []
        self.tokens: dict[int, Reservation] = {}
        self._token_source = Tokens(clock.wall)
        self.failure = ""
        self.draining = False
        self.refusing = False
        self.total_items = 0
        self.on_append: Callable[[], None] | None = None

    # -- queues -------------------------------------------------------------

    def open(self, name: bytes) -> Queue:
        """The queue ``name``, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = Queue(self, name, self.journal.open_queue(name))
            self.queues[name] = queue
            queue.rest_if_empty()
        return queue

    def forget(self, queue: Queue) -> None:
        """An empty queue that nobody uses costs nothing from here on."""
        del self.queues[queue.name]
        self.journal.close_queue(queue.number)

    def restore(self, name: bytes, records: Iterable[bytes]) -> None:
        """Put items back that the journal has kept, in the order of their places.

        Expired items are dropped. Call before anything else uses the broker.
        """
        queue = self.open(name)
        for record in records:
            queue.restore_item(record)

    # -- the batch ----------------------------------------------------------

    def effect(self, commit: Callable[[], None], rollback: Callable[[], None], receipt: Any) -> None:
        """Add a rare change to the open batch: what its success and its failure do."""
        self._effects.append((commit, rollback, receipt))

    def housekeeping(self) -> None:
        """Something was journaled that no request asked for."""
        if self.on_append is not None:
            self.on_append()

    def has_changes(self) -> bool:
        """Whether anything has happened that waits for a frame."""
        return bool(self.puts or self.acks or self._effects)

    def seal(self) -> Batch:
        """Close the open batch, whose frame is about to be written, and open the next."""
        batch = Batch(self.batch, self.puts, self.acks, self._effects)
        self.batch += 1
        self.puts = []
        self.acks = []
        self._effects = []
        return batch

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

    # -- failing and refusing -----------------------------------------------

    def check_storage(self) -> None:
        """Raise :class:`StorageFailed` where the journal has failed."""
        if self.failure:
            raise StorageFailed(self.failure)

    def fail(self, reason: str) -> None:
        """The journal takes nothing from here on, for ``reason``; an empty one lifts it."""
        self.failure = reason
        self.refusing = bool(reason) or self.draining

    def drain(self, on: bool) -> None:
        """Take no new items while ``on``; gets and acknowledgements go on."""
        self.draining = on
        self.refusing = on or bool(self.failure)

    # -- tokens -------------------------------------------------------------

    def token_of(self, reservation: Reservation) -> int:
        """The token of a reservation, given at the first call."""
        if not reservation.token:
            reservation.token = self._token_source.give()
            self.tokens[reservation.token] = reservation
        return reservation.token

    def swap(self, token: int, name: bytes, payload: bytes, flags: int, expires: int | None, receipt: Any) -> Swap:
        """Acknowledge the reservation ``token`` and append an item to ``name``: both or neither.

        :param expires: as for :meth:`Queue.put`; None for an item that has
            expired already, which is acknowledged into nothing
        :raises StorageFailed: when the journal has failed
        """
        reservation = self.tokens.get(token)
        if reservation is None:
            return Swap.LOST if self._token_source.was_given(token) else Swap.UNKNOWN
        source = reservation.queue
        self.check_storage()
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
        source.acknowledge(reservation, receipt)
        return Swap.STORED

    # -- dropping -----------------------------------------------------------

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
