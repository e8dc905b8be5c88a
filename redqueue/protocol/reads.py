"""The gets: get, gets, gat, gats, with their options and their waiting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from redqueue.engine.consumer import ANYBODY, Consumer, Reservation
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.queue import Queue
from redqueue.engine.topics import is_child
from redqueue.journal import record as rec
from redqueue.protocol import key as keys
from redqueue.protocol import replies
from redqueue.protocol.key import Key
from redqueue.protocol.replies import END
from redqueue.protocol.request import BadRequest, Request, Run, signed
from redqueue.protocol.session import COMMIT, READING, WAITING, Session

COUNTED: Final = 256
"""A value at least this long counts towards the session's limit of unsent output."""

KEPT_HEADS: Final = 64
"""VALUE lines remembered for one key."""


def parse_get(words: list[bytes], run: Run) -> Request:
    """``get <key>*``"""
    if not words:
        raise BadRequest(replies.BAD_FORMAT)
    request = Request(run)
    if len(words) == 1:
        key = keys.parse_get(words[0])
        if key.is_plain:
            request.queue = key.queue
            if is_child(key.queue):
                request.run = run_get_child
        else:
            request.run = run_read
        request.keys = (key,)
    else:
        request.keys = tuple(map(keys.parse_get, words))
        request.run = run_read
        for key, following in pairwise(request.keys):
            if key.joins and key.consumer != following.consumer:
                raise keys.BadKey("keys joined by /or name one consumer")
    return request


def parse_gets(words: list[bytes], run: Run) -> Request:
    """``gets <key>*``"""
    request = parse_get(words, run)
    request.run = run_read
    request.with_token = True
    return request


def parse_gat(words: list[bytes], run: Run) -> Request:
    """``gat <exptime> <key>*``"""
    if len(words) < 2:
        raise BadRequest(replies.BAD_FORMAT)
    exptime = signed(words[0])
    if exptime is None:
        raise BadRequest(replies.BAD_FORMAT)
    request = parse_get(words[1:], run)
    request.run = run_read
    request.exptime = exptime
    return request


def parse_gats(words: list[bytes], run: Run) -> Request:
    """``gats <exptime> <key>*``"""
    request = parse_gat(words, run)
    request.with_token = True
    return request


def _head(request: Request, record: bytes) -> bytes:
    """The VALUE line for an item, remembered by the eight bytes of its record that say flags and size."""
    head = b"VALUE %b %d %d\r\n" % (request.queue, rec.flags(record), rec.payload_size(record))
    if len(request.heads) >= KEPT_HEADS:
        request.heads.clear()
    request.heads[record[24:32]] = head
    return head


def run_get(session: Session, request: Request, body: bytes) -> None:
    """``get`` of one queue without options: the hot path."""
    broker = session.broker
    if session.last_put > broker.committed:
        session.stall_and_retry()
        return
    queue = session.queues.get(request.queue)
    if queue is not None:
        if queue.detour and not queue.is_settled():
            session.stall_and_retry()
            return
        reservation = queue.reserve(session.consumer)
        if reservation is not None:
            record = reservation.record
            session.counters.get_hits += 1
            head = request.heads.get(record[24:32]) or _head(request, record)
            payload = rec.payload(record) if record[1] else record[32:]
            session.out.append(b"%b%b\r\nEND\r\n" % (head, payload))
            if len(record) > COUNTED:
                session.count_output(len(record))
            return
        if queue.cold_cost and queue.is_reading_back(session.consumer):
            session.stall_until_read_back(queue)
            return
    if session.settings_of(request.queue).wait:
        Values(session, request, None).go()
        return
    session.counters.get_misses += 1
    session.out.append(END)


def run_get_child(session: Session, request: Request, body: bytes) -> None:
    """``get`` of a child, which exists from its first one on."""
    session.broker.subscribe(request.queue)
    run_get(session, request, body)


def run_read(session: Session, request: Request, body: bytes) -> None:
    """Every other get; ``gat`` and ``gats`` name the reservations' deadline."""
    if must_settle(session, request):
        session.stall_and_retry()
    else:
        Values(session, request, session.reservation_seconds(request.exptime)).go()


def must_settle(session: Session, request: Request) -> bool:
    """Whether the answer depends on changes that the journal does not have yet.

    The children among the queues that are read exist from here on.
    """
    for key in request.keys:
        session.broker.subscribe(key.queue)
    if session.last_put > session.broker.committed:
        return True
    queues = session.queues
    for key in request.keys:
        queue = queues.get(key.queue)
        if queue is not None and queue.detour and not queue.is_settled():
            return True
    return False


class Reading:
    """One get of one or several keys, which may wait at each of them.

    What is said about an item is the business of the protocols, which make
    classes of their own of this one.

    :param timeout: seconds until the reservations' deadlines, None for the queues' own
    """

    __slots__ = ("_index", "_request", "_session", "_timeout")

    def __init__(self, session: Session, request: Request, timeout: float | None) -> None:
        self._session = session
        self._request = request
        self._timeout = timeout
        self._index = 0

    def add(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        """An item was found for a key; None for one that was only looked at."""
        raise NotImplementedError

    def reply(self) -> bytes:
        """What to answer, now that all keys are done."""
        raise NotImplementedError

    def go(self) -> None:
        """Go through the keys from where it stands, as far as those that have to wait, or answer."""
        keys = self._request.keys
        while self._index < len(keys):
            group = self._group()
            if not self._step(group):
                return
            self._index += len(group)
        session = self._session
        reply = self.reply()
        session.out.append(reply)
        session.count_output(len(reply))

    def delivered(self, reservation: Reservation | None) -> None:
        """The waiting is over, with an item or with None."""
        self._session.waiter = None
        group = self._group()
        if reservation is None:
            self._session.counters.get_misses += 1
        else:
            name = reservation.queue.name
            key, *_ = [key for key in group if key.queue == name and key.opens]
            self._found(key, reservation.record, reservation)
        self._index += len(group)
        self._resume()

    def _group(self) -> Sequence[Key]:
        """The next key, with those it is joined to by ``/or``."""
        keys = self._request.keys
        end = self._index + 1
        while keys[end - 1].joins and end < len(keys):
            end += 1
        return keys[self._index : end]

    def _step(self, group: Sequence[Key]) -> bool:
        """Carry out keys of which one item is wanted; False where it has begun to wait."""
        session = self._session
        consumer = self._consumer(group[0])
        for key in group:
            if key.prefetch:
                consumer.prefetch = key.prefetch
            if key.closes or key.aborts:
                self._end_reservations(key, consumer)
        lines: list[Key] = []
        asked = False
        for key in group:
            queue = session.queues.get(key.queue)
            if key.peek is not None:
                asked = True
                item = queue.peek(key.peek) if queue is not None else None
                if isinstance(item, int):
                    self._peek_later(key, queue, item)
                    return False
                if item is not None:
                    self._found(key, item, None)
                    return True
            elif key.opens:
                asked = True
                if queue is not None:
                    reservation = queue.reserve(consumer, self._timeout)
                    if reservation is not None:
                        self._found(key, reservation.record, reservation)
                        return True
                    if queue.cold_cost and self._reads_back(queue, consumer):
                        return False
                if not _is_full(consumer, key.queue, queue):
                    lines.append(key)
        wait = self._wait_seconds(group)
        if wait and lines and not session.eof:
            queues = [session.broker.open(key.queue) for key in lines]
            session.waiter = session.broker.wait(queues, consumer, wait, self._timeout, self.delivered)
            session.stall(WAITING)
            return False
        session.counters.get_misses += asked
        return True

    def _peek_later(self, key: Key, queue: Queue | None, item_id: int) -> None:
        """Show an item once it is read back."""
        if queue is not None and queue.mortal and not key.peek and self._reads_back(queue, ANYBODY):
            return  # it may have expired, and then the one behind it is the head
        self._session.stall(READING)
        self._session.broker.journal.read([item_id], partial(self._peeked, key))

    def _peeked(self, key: Key, records: list[bytes] | None, error: BaseException | None) -> None:
        """The item that was to be shown has been read back, or could not be, which is a miss."""
        session = self._session
        if records is None:
            session.counters.storage_errors += 1
        if records is None or 0 < rec.expires(records[0]) <= session.broker.clock.wall:
            session.counters.get_misses += 1
        else:
            self._found(key, records[0], None)
        self._index += len(self._group())
        self._resume()

    def _reads_back(self, queue: Queue, consumer: Consumer) -> bool:
        """Whether this get waits until the head of the queue is in memory; one that cannot be read is a miss."""
        session = self._session
        try:
            if not queue.is_reading_back(consumer):
                return False
        except StorageFailed:
            session.counters.storage_errors += 1
            return False
        session.stall(READING)
        queue.when_read_back(self._resume)
        return True

    def _resume(self) -> None:
        """What this get has waited for is here: go on, and have the owner look at the session."""
        self._session.stalled = COMMIT
        self.go()
        self._session.announce()

    def _consumer(self, key: Key) -> Consumer:
        session = self._session
        return session.consumer if key.consumer is None else session.broker.named.get(key.consumer)

    def _wait_seconds(self, group: Sequence[Key]) -> float:
        """The longest wait that the keys name, or else the longest of their queues' settings."""
        named = [key.wait for key in group if key.wait is not None]
        if named:
            return max(named)
        session = self._session
        return max([session.settings_of(key.queue).wait for key in group if key.opens], default=0.0)

    def _end_reservations(self, key: Key, consumer: Consumer) -> None:
        """Acknowledge or give back what the consumer holds on the queue."""
        for reservation in list(consumer.held.get(key.queue, ())):
            if key.aborts:
                reservation.queue.cancel(reservation, key.delay)
            else:
                reservation.queue.acknowledge(reservation, self._session)

    def _found(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        self._session.counters.get_hits += 1
        self.add(key, record, reservation)


def _is_full(consumer: Consumer, name: bytes, queue: Queue | None) -> bool:
    held = consumer.held.get(name)
    return held is not None and queue is not None and len(held) >= (consumer.prefetch or queue.settings.prefetch)


class Values(Reading):
    """A classic get: a ``VALUE`` for each item."""

    __slots__ = ("_parts",)

    def __init__(self, session: Session, request: Request, timeout: float | None) -> None:
        super().__init__(session, request, timeout)
        self._parts: list[bytes] = []

    def add(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        head = b"VALUE %b %d %d" % (key.wire, rec.flags(record), rec.payload_size(record))
        if self._request.with_token:
            token = 0 if reservation is None else self._session.broker.token_of(reservation)
            head += b" %d" % token
        self._parts += (head, b"\r\n", rec.payload(record), b"\r\n")

    def reply(self) -> bytes:
        self._parts.append(END)
        return b"".join(self._parts)
