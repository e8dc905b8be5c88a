"""All queues by name, and what concerns more than one of them."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from redqueue.engine import admission, dead_letters, losses
from redqueue.engine.arrival import Arrival
from redqueue.engine.clock import Clock
from redqueue.engine.journal import Journal
from redqueue.engine.ledger import ITEM_COST, Batch, Ledger, StorageFailed
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.engine.subscriptions import Subscriptions
from redqueue.engine.topics import Topics, is_child, is_pattern, parts, words
from redqueue.journal import record as rec

EVICT_MOST: Final = 2000
"""Items put out of memory in one turn."""
EVICT_QUEUES: Final = 1000
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

    :param settings: the settings of all queues, or a book of them
    :param clock: tells the time
    :param journal: takes the records
    :param memory: bytes of items that all queues together may hold in memory; 0 for no limit

    :ivar queues: by name; a name without a queue has no entry
    :ivar subscriptions: the children that exist
    :ivar on_forget: called with each queue that is gone, whose figures go with it
    """

    def __init__(self, settings: QueueSettings | SettingsBook, clock: Clock, journal: Journal, memory: int = 0) -> None:
        book = settings if isinstance(settings, SettingsBook) else SettingsBook(settings)
        super().__init__(book, clock, journal, memory)
        self.queues: dict[bytes, Queue] = {}
        self.subscriptions = Subscriptions(self)
        self.on_forget: list[Callable[[Queue], None]] = []
        self._resumptions: dict[Queue, _Resumption] = {}
        self._hand: Iterator[Queue] = iter(())
        self._share = 2 * self.window()

    # -- queues -------------------------------------------------------------

    def open(self, name: bytes) -> Queue:
        """The queue ``name``, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            queue = Queue(self, name, self.journal.open_queue(name), self.forget)
            self.queues[name] = queue
            if self.subscriptions:
                queue.set_children(self.subscriptions.children_of(name))
            if self.max_queues and len(self.queues) > self.max_queues:
                queue.special = True  # so that its first put is looked at
            queue.rest_if_empty()
        return queue

    def forget(self, queue: Queue) -> None:
        """An empty queue that nobody uses costs nothing from here on."""
        if self.queues.get(queue.name) is not queue:
            return  # it was forgotten before, while a flush that touched it was on its way to the journal
        del self.queues[queue.name]
        self.journal.close_queue(queue.number)
        for tell in self.on_forget:
            tell(queue)

    def restore(
        self, name: bytes, ids: array[int], heads: list[bytes], payload_bytes: int, fields: int, mortal: int
    ) -> None:
        """Put items back that the journal has kept. Call before anything else uses the broker.

        The other arguments are those of :meth:`Queue.restore_items`.
        """
        self.open(name).restore_items(ids, heads, payload_bytes, fields, mortal)

    def restore_subscriptions(self, records: list[bytes]) -> None:
        """Take the records of the queue that the subscriptions are kept in, before any other queue is restored."""
        self.subscriptions.restore(records)

    def restore_names(self, names: Mapping[bytes, bytes]) -> None:
        """Take the names that the numbers (6 bytes) in the restored records stand for."""
        self.origins.restore(names)

    # -- rules for puts and returns (redqueue.engine.ledger.Ledger) --------------

    def admit(self, queue: Queue, arrival: Arrival) -> bool:
        """Put an item that is not a plain one; False where it cannot be taken."""
        if self.max_queues and not queue.items and len(self.queues) > self.max_queues:
            if not queue.in_use():
                self.deadlines.clear(queue)
                self.forget(queue)
            return False
        return admission.admit(queue, arrival)

    def fan_out(self, queue: Queue, arrival: Arrival) -> bool:
        """Put an item into a queue's children, and into the queue itself as its settings say: all or none."""
        targets = list(map(self.open, queue.children))
        if not queue.settings.fanout_only:
            targets.append(queue)
        size = len(arrival.payload)
        if not all(admission.has_room(target, size) for target in targets):
            return False
        records: list[bytes] = []
        for target in targets:
            admission.take(target, arrival, records.append)
            arrival = arrival._replace(receipt=None)
        if rec.differ_in_queue_only(records):
            self.journal.put_together(records)
        else:
            for record in records:
                self.journal_put(record)
        return True

    def put_back(self, queue: Queue, record: bytes, deliveries: int, delay: float, is_loss: bool) -> None:
        """Put an item back that was delivered and not acknowledged, where the queue has rules for that."""
        losses.put_back(queue, record, deliveries, delay, is_loss)

    # -- children ---------------------------------------------------------------

    def subscribe(self, name: bytes) -> None:
        """A child that is read exists from here on, and gets its copy of what is put on its parents.

        :param name: any queue that is read; one that is no child, or exists, is left alone
        :raises StorageFailed: when the journal has failed, or there may be no more children
        """
        if not is_child(name) or name in self.subscriptions:
            return
        if self.max_queues and len(self.subscriptions) >= self.max_queues:
            raise StorageFailed(f"max_queues={self.max_queues} reached: there are so many children")
        self.subscriptions.add(name)
        self._bind(name)

        def rollback() -> None:
            self.subscriptions.discard(name)
            self._unbind(name)

        self.effect(lambda: None, rollback, None)

    def _bind(self, child: bytes) -> None:
        for queue in self._parents_of(child):
            if child not in queue.children:
                queue.set_children((*queue.children, child))

    def _unbind(self, child: bytes) -> None:
        for queue in self._parents_of(child):
            queue.set_children(tuple(name for name in queue.children if name != child))

    def _parents_of(self, child: bytes) -> Iterator[Queue]:
        """The parents of a child that are open."""
        parent, _ = parts(child)
        if not is_pattern(parent):
            queue = self.queues.get(parent)
            if queue is not None:
                yield queue
            return
        topic = Topics()
        topic.add(words(parent), child)
        for queue in self.queues.values():
            if not is_child(queue.name) and any(topic.match(words(queue.name))):
                yield queue

    # -- the batch ----------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """The journal has the batch: its items are ready, waiters are served."""
        self.committed = batch.number
        queue: Queue
        record: bytes
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
        journal = self.journal  # as hot_cost() does
        if self.memory and journal.live_bytes + ITEM_COST * journal.live_items - self.cold_cost > self.memory:
            self.evict()

    def rollback(self, batch: Batch, acks_kept: bool = False) -> list[Any]:
        """The journal could not take the batch: nothing of it has happened.

        :param acks_kept: except that the acknowledgements were written
        :returns: the receipts of the requests that failed, None where there was none
        """
        self.committed = batch.number
        for _, rollback, _ in batch.effects[::-1]:
            rollback()
        acks = [] if acks_kept else batch.acks
        for reservation, consumer, _ in acks[::-1]:
            reservation.queue.restore(reservation, consumer)
        for queue, record, _ in batch.puts:
            queue.discount(record)
        for queue in list(self.queues.values()):
            queue.settle()
        return [entry[2] for entry in (*batch.puts, *acks, *batch.effects)]

    # -- memory -------------------------------------------------------------

    def evict(self) -> None:
        """Put a bounded number of items out of memory, which is full, where a queue has more than its share there.

        The share halves with each round of all queues that was not enough, and grows again with each that was.
        """
        left, rounds = EVICT_MOST, 0
        for _ in range(EVICT_QUEUES):
            queue = next(self._hand, None)
            if queue is None:
                if rounds and self._share == 1:
                    return
                rounds += 1
                self._hand = iter([*self.queues.values()])
                self._share = max(1, min(self._share, self.window()) // 2)
                continue
            left -= queue.evict(left, self._share)
            if self.hot_cost() < self.memory:
                self._share = min(2 * self._share, self.window())
                return
            if left <= 0:
                return

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
        self.check_space()
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
        for record in self.subscriptions.rewritten():
            self.append(record)
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
            self.journal.bury(chain.from_iterable(gone), items, stored)
            self.housekeeping()

        self.effect(commit, lambda: None, receipt)

    def flush_all_later(self, seconds: float) -> None:
        """:meth:`flush_all`, ``seconds`` from now; a restart before that forgets it."""
        self.deadlines.set(_DelayedFlush(self), self.clock.now + seconds)

    # -- operators' verbs ---------------------------------------------------------

    def pause(self, queue: Queue, seconds: float | None) -> None:
        """Hand out no item of ``queue`` for so many seconds, None for until it is resumed or the server ends."""
        self._forget_resumption(queue)
        queue.pause()
        if seconds is not None:
            resumption = self._resumptions[queue] = _Resumption(self, queue)
            self.deadlines.set(resumption, self.clock.now + seconds)

    def resume(self, queue: Queue) -> None:
        """Hand out items of ``queue`` again."""
        self._forget_resumption(queue)
        queue.resume()

    def paused_seconds(self, queue: Queue) -> float | None:
        """Seconds until a paused queue is resumed by itself; None where that is not to happen."""
        resumption = self._resumptions.get(queue)
        if resumption is None or resumption.deadline is None:
            return None
        return max(0.0, resumption.deadline - self.clock.now)

    def _forget_resumption(self, queue: Queue) -> None:
        resumption = self._resumptions.pop(queue, None)
        if resumption is not None:
            self.deadlines.clear(resumption)

    def drop(self, name: bytes, receipt: Any) -> bool:
        """Drop all items of a queue, its subscription and what else there is of it.

        :returns: False where there is neither a queue nor a subscription of that name
        :raises StorageFailed: when the journal has failed
        """
        queue = self.queues.get(name)
        if queue is None and name not in self.subscriptions:
            return False
        self.check_storage()
        if name in self.subscriptions:
            self._unsubscribe(name, receipt)
        if queue is not None:
            self.flush(queue, receipt)
            self.effect(lambda: self._forget_dropped(queue), lambda: None, None)
        return True

    def _forget_dropped(self, queue: Queue) -> None:
        self.resume(queue)
        if self.queues.get(queue.name) is queue and not queue.in_use():
            self.deadlines.clear(queue)
            self.forget(queue)

    def _unsubscribe(self, child: bytes, receipt: Any) -> None:
        record = self.subscriptions.remove(child)
        self._unbind(child)

        def rollback() -> None:
            self.subscriptions.put_back(child, record)
            self._bind(child)

        self.effect(lambda: None, rollback, receipt)

    def redrive(self, grave: Queue, most: int, receipt: Any) -> bool:
        """Put up to ``most`` dead letters back to where they came from, the oldest first.

        :param grave: a settled queue
        :returns: whether there was one that could go back
        :raises StorageFailed: when the journal has failed
        """
        self.check_storage()
        return dead_letters.redrive(grave, most, receipt)

    def redrive_one(self, grave: Queue, item_id: int, receipt: Any) -> bool:
        """Put one dead letter back to where it came from.

        :param grave: a settled queue
        :param item_id: of a ready item that is in memory (:meth:`Queue.is_bringing_in`), or of none
        :returns: whether there was such a letter, and it could go back
        :raises StorageFailed: when the journal has failed
        """
        self.check_storage()
        return dead_letters.redrive_one(grave, item_id, receipt)

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


class _Resumption:
    __slots__ = ("broker", "deadline", "queue")

    def __init__(self, broker: Broker, queue: Queue) -> None:
        self.broker = broker
        self.queue = queue
        self.deadline: float | None = None

    def expire(self, now: float) -> None:
        self.broker.resume(self.queue)
