"""The gets: get, gets, gat, gats, with their options and their waiting."""

from __future__ import annotations

from redqueue.engine.consumer import Consumer, Reservation
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.queue import Queue
from redqueue.journal import record as rec
from redqueue.protocol import key as keys
from redqueue.protocol import replies
from redqueue.protocol.key import Key
from redqueue.protocol.replies import END
from redqueue.protocol.request import BadRequest, Request, Run, signed
from redqueue.protocol.session import COMMIT, READING, WAITING, Session

_ANYBODY = Consumer()
"""Holds nothing."""
_COUNTED = 256
"""A value at least this long counts towards the session's limit of unsent output."""

_KEPT_HEADS = 64
"""VALUE lines remembered for one key."""


def parse_get(words: list[bytes], run: Run) -> Request:
    """``get <key>*``"""
    if not words:
        raise BadRequest(replies.BAD_FORMAT)
    request = Request(run)
    if len(words) == 1:
        key = keys.parse(words[0])
        if key.is_plain:
            request.queue = key.queue
        else:
            request.run = run_read
        request.keys = (key,)
    else:
        request.keys = tuple(map(keys.parse, words))
        request.run = run_read
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
    if len(request.heads) >= _KEPT_HEADS:
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
            if len(record) > _COUNTED:
                session.count_output(len(record))
            return
        if queue.cold_cost and queue.is_reading_back(session.consumer):
            session.stall_until_read_back(queue)
            return
    if broker.settings.wait:
        Reading(session, request, None).go()
        return
    session.counters.get_misses += 1
    session.out.append(END)


def run_read(session: Session, request: Request, body: bytes) -> None:
    """Every other get; ``gat`` and ``gats`` name the reservations' deadline."""
    if must_settle(session, request):
        session.stall_and_retry()
    else:
        Reading(session, request, session.reservation_seconds(request.exptime)).go()


def must_settle(session: Session, request: Request) -> bool:
    """Whether the answer depends on changes that the journal does not have yet."""
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

    :param timeout: seconds until the reservations' deadlines, None for the queues' own
    """

    __slots__ = ("_index", "_parts", "_request", "_session", "_timeout")

    def __init__(self, session: Session, request: Request, timeout: float | None) -> None:
        self._session = session
        self._request = request
        self._timeout = timeout
        self._index = 0
        self._parts: list[bytes] = []

    def go(self) -> None:
        """Go through the keys from where it stands, as far as the next one that has to wait, or answer."""
        keys = self._request.keys
        while self._index < len(keys):
            if not self._step(keys[self._index]):
                return
            self._index += 1
        session = self._session
        self._parts.append(END)
        reply = b"".join(self._parts)
        session.out.append(reply)
        session.count_output(len(reply))

    def delivered(self, reservation: Reservation | None) -> None:
        """The waiting is over, with an item or with None."""
        key = self._request.keys[self._index]
        self._count(reservation is not None)
        if reservation is not None:
            self._add(key, reservation.record, reservation)
        self._index += 1
        self._resume()

    def _step(self, key: Key) -> bool:
        """Carry out one key; False where it has begun to wait."""
        session = self._session
        queue = session.queues.get(key.queue)
        if key.peek is not None:
            item = queue.peek(key.peek) if queue is not None else None
            if isinstance(item, int):
                if queue is not None and queue.mortal and not key.peek and self._reads_back(queue, _ANYBODY):
                    return False  # it may have expired, and then the one behind it is the head
                session.stall(READING)
                session.broker.journal.read([item], self._peeked)
                return False
            self._show(key, item)
            return True
        if key.closes or key.aborts:
            self._end_reservations(key)
            if not key.opens:
                return True
        if queue is not None:
            reservation = queue.reserve(session.consumer, self._timeout)
            if reservation is not None:
                self._count(True)
                self._add(key, reservation.record, reservation)
                return True
            if queue.cold_cost and self._reads_back(queue, session.consumer):
                return False
        wait = session.broker.settings.wait if key.wait is None else key.wait
        if wait and not session.eof and not self._is_full(key.queue, queue):
            queue = session.broker.open(key.queue)
            queue.wait(session.consumer, wait, self._timeout, self.delivered)
            session.stall(WAITING)
            return False
        self._count(False)
        return True

    def _show(self, key: Key, record: bytes | None) -> None:
        self._count(record is not None)
        if record is not None:
            self._add(key, record, None)

    def _peeked(self, records: list[bytes] | None, error: BaseException | None) -> None:
        """The item that was to be shown has been read back, or could not be, which is a miss."""
        if error is not None:
            self._session.counters.storage_errors += 1
        record = records[0] if records else None
        if record is not None and 0 < rec.expires(record) <= self._session.broker.clock.wall:
            record = None
        self._show(self._request.keys[self._index], record)
        self._index += 1
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
        """What was being read back is here: go on, and have the owner look at the session."""
        self._session.stalled = COMMIT
        self.go()
        self._session.announce()

    def _is_full(self, name: bytes, queue: Queue | None) -> bool:
        held = self._session.consumer.held.get(name)
        return held is not None and queue is not None and len(held) >= queue.settings.prefetch

    def _end_reservations(self, key: Key) -> None:
        """Acknowledge or give back what the consumer holds on the queue."""
        session = self._session
        for reservation in list(session.consumer.held.get(key.queue, ())):
            if key.aborts:
                reservation.queue.cancel(reservation)
            else:
                reservation.queue.acknowledge(reservation, session)

    def _count(self, hit: bool) -> None:
        counters = self._session.counters
        if hit:
            counters.get_hits += 1
        else:
            counters.get_misses += 1

    def _add(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        head = b"VALUE %b %d %d" % (key.wire, rec.flags(record), rec.payload_size(record))
        if self._request.with_token:
            token = 0 if reservation is None else self._session.broker.token_of(reservation)
            head += b" %d" % token
        self._parts += (head, b"\r\n", rec.payload(record), b"\r\n")
