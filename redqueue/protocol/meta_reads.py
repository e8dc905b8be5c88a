"""mg and me: what the meta commands read (CONTRACT section 5)."""

from __future__ import annotations

import re
from typing import Final

from redqueue.engine.consumer import ANYBODY, Reservation
from redqueue.engine.queue import Queue
from redqueue.engine.topics import is_child
from redqueue.journal import record as rec
from redqueue.protocol import classic, replies
from redqueue.protocol import key as keys
from redqueue.protocol.key import BadKey, Key
from redqueue.protocol.meta_line import begin, number, parse_key, take_token
from redqueue.protocol.reads import COUNTED, KEPT_HEADS, Reading, must_settle
from redqueue.protocol.request import BadRequest, Request, Run, signed
from redqueue.protocol.session import Session

_PLAIN: Final = frozenset(b"bcfkOqsv")
"""Flags of an mg that reserves by the short way: what they show is in the item's head, or always the same."""

_MG_OPTIONS: Final = (b"abort", b"as", b"close", b"delay", b"open", b"peek", b"prefetch", b"t")


def parse_mg(words: list[bytes], run: Run) -> Request:
    """``mg <key> <flags>*``"""
    request, flags = begin(words, run_look, b"bcCdfhiklOqstTuv", b"EINR")
    key = parse_key(words[0], flags, lambda name, raw: keys.parse_get(name, _MG_OPTIONS, raw=raw))
    request.keys = (key,)
    request.queue, request.consumer = key.queue, key.consumer
    request.words = tuple(flags)
    request.reply = words[0]
    if b"u" in flags and key.peek is None:
        if not key.opens or key.closes or key.wait is not None:
            raise BadKey("flag u goes with no option of the key but /peek")
        key.peek = 0
    take_token(request, flags, words, b"mg")
    if b"T" in flags:
        request.exptime = number(flags, b"T", signed)
    if b"v" in flags or key.closes or key.aborts:
        if b"C" in flags:
            raise BadRequest(replies.client_error("flag C goes with no v, /close or /abort in this command"))
        if key.opens and b"v" not in flags:
            raise BadKey("options /open and /t= go with flag v")
        shows_plain = all(letter in _PLAIN for letter in b"".join(flags))
        if key.is_plain and not is_child(key.queue) and key.peek is None and shows_plain:
            request.run = run_reserve
            request.with_token = b"c" in flags
        else:
            request.run = run_read
    elif key.wait is not None:
        raise BadKey("options /open and /t= go with flag v")
    elif b"C" in flags and (key.peek is not None or key.consumer is not None):
        raise BadRequest(replies.client_error("flag C goes with no u, /peek or /as="))
    return request


def run_reserve(session: Session, request: Request, body: bytes) -> None:
    """``mg`` with ``v`` and what shows with no effort: the hot path, as :func:`redqueue.protocol.reads.run_get`."""
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
            head = request.heads.get(record[24:32]) or _remember_head(request, record)
            payload = rec.payload(record) if record[1] else record[32:]
            if request.with_token:
                session.out.append(head % (broker.give_token(reservation), payload))
            else:
                session.out.append(head % payload)
            if len(record) > COUNTED:
                session.count_output(len(record))
            return
        if queue.cold_cost and queue.is_reading_back(session.consumer):
            session.stall_until_read_back(queue)
            return
    if session.settings_of(request.queue).wait:
        Answer(session, request, None).go()
        return
    session.counters.get_misses += 1
    session.out.append(_miss(request))


def _remember_head(request: Request, record: bytes) -> bytes:
    """The answer for items with the same flags and size: what is left to fill in is the token and the payload."""
    parts = [b"VA %d" % rec.payload_size(record)]
    for letter in request.words:
        if letter == b"c":
            parts.append(b" c%d")
        elif letter == b"f":
            parts.append(b" f%d" % rec.flags(record))
        elif letter == b"s":
            parts.append(b" s%d" % rec.payload_size(record))
        elif letter in b"kO":
            parts.append(_constant(request, letter).replace(b"%", b"%%"))
    parts.append(b"\r\n%b\r\n")
    head = b"".join(parts)
    if len(request.heads) >= KEPT_HEADS:
        request.heads.clear()
    request.heads[record[24:32]] = head
    return head


_CONSTANT: Final = re.compile(rb" O[^ ]*| k[^ ]*( b)?")


def _constant(request: Request, letter: bytes) -> bytes:
    """The part of the request's suffix that echoes ``k`` or ``O``."""
    found, *_ = [match[0] for match in _CONSTANT.finditer(request.suffix) if match[0][1:2] == letter]
    return found


def _miss(request: Request) -> bytes:
    return b"" if request.quiet else b"EN%b\r\n" % request.suffix


def run_read(session: Session, request: Request, body: bytes) -> None:
    """``mg`` that reserves, or acts by the options of its key."""
    if must_settle(session, request):
        session.stall_and_retry()
    else:
        Answer(session, request, session.reservation_seconds(request.exptime)).go()


def run_look(session: Session, request: Request, body: bytes) -> None:
    """``mg`` without ``v``: touch, or look at the head or at a reservation."""
    if must_settle(session, request):
        session.stall_and_retry()
        return
    counters = session.counters
    touches = b"T" in request.words
    reservation = None
    if touches or request.with_token:
        reservation = classic.held_reservation(session, request)
        record = None if reservation is None else reservation.record
        if reservation is not None and touches:
            reservation.queue.touch(reservation, session.reservation_seconds(request.exptime))
    else:
        queue = session.queues.get(request.queue)
        index = request.keys[0].peek or 0
        item = None if queue is None else queue.peek(index)
        if queue is not None and isinstance(item, int):
            if index:
                Answer(session, request, None).go()  # which reads it back
            elif queue.is_reading_back(ANYBODY):
                session.stall_until_read_back(queue)
            return
        record = item if isinstance(item, bytes) else None
    if touches:
        counters.touch_hits += record is not None
        counters.touch_misses += record is None
    else:
        counters.get_hits += record is not None
        counters.get_misses += record is None
    if record is None:
        session.out.append(_miss(request))
    else:
        session.out.append(b"HD%b\r\n" % _show(session, request, record, reservation))


def _show(session: Session, request: Request, record: bytes, reservation: Reservation | None) -> bytes:
    """What the flags of an mg ask of an item."""
    parts = []
    broker = session.broker
    for letter in request.words:
        if letter == b"c":
            parts.append(b" c%d" % (0 if reservation is None else broker.token_of(reservation)))
        elif letter == b"f":
            parts.append(b" f%d" % rec.flags(record))
        elif letter == b"s":
            parts.append(b" s%d" % rec.payload_size(record))
        elif letter == b"t":
            expires = rec.expires(record)
            parts.append(b" t%d" % (max(0, expires - broker.clock.wall) // 1_000_000_000 if expires else -1))
        elif letter == b"l":
            parts.append(b" l%d" % (max(0, broker.clock.wall - rec.time(record)) // 1_000_000_000))
        elif letter == b"h":
            parts.append(b" h%d" % (_deliveries(session, request, record, reservation) > (reservation is not None)))
        elif letter == b"d":
            parts.append(b" d%d" % _deliveries(session, request, record, reservation))
        elif letter == b"i":
            parts.append(b" i%d" % rec.item_id(record))
        elif letter in b"kO":
            parts.append(_constant(request, letter))
    return b"".join(parts)


def _deliveries(session: Session, request: Request, record: bytes, reservation: Reservation | None) -> int:
    """How often an item was delivered, with what is under way."""
    if reservation is not None:
        return reservation.deliveries
    return session.queues[request.queue].deliveries(record)


class Answer(Reading):
    """An mg that reserves, which may wait."""

    __slots__ = ("_reply",)

    def __init__(self, session: Session, request: Request, timeout: float | None) -> None:
        super().__init__(session, request, timeout)
        self._reply = b""

    def add(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        shown = _show(self._session, self._request, record, reservation)
        if b"v" in self._request.words:
            self._reply = b"VA %d%b\r\n%b\r\n" % (rec.payload_size(record), shown, rec.payload(record))
        else:
            self._reply = b"HD%b\r\n" % shown

    def reply(self) -> bytes:
        return self._reply or _miss(self._request)


def parse_me(words: list[bytes], run: Run) -> Request:
    """``me <key> [b]``"""
    request, flags = begin(words, run, b"b")
    request.queue = parse_key(words[0], flags, lambda name, raw: keys.parse(name, (), raw=raw)).queue
    request.reply = words[0]
    return request


def run_me(session: Session, request: Request, body: bytes) -> None:
    """``me``: the figures of a queue; a miss where it holds nothing and nobody waits."""
    if session.last_put > session.broker.committed:
        session.stall_and_retry()
        return
    queue = session.queues.get(request.queue)
    if queue is None or not (queue.items or queue.waiters):
        session.out.append(b"EN\r\n")
        return
    figures = " ".join(f"{name}={value}" for name, value in _figures(queue))
    session.out.append(b"ME %b %b\r\n" % (request.reply, figures.encode()))


def _figures(queue: Queue) -> tuple[tuple[str, int], ...]:
    waiting = {waiter.consumer for waiter in queue.waiters}
    holding = {reservation.consumer for reservation in (*queue.reservations, *queue.timed)}
    return (
        ("items", queue.items),
        ("reserved", queue.reserved),
        ("delayed", len(queue.delayed or ())),
        ("bytes", queue.bytes),
        ("age", int(queue.age())),
        ("consumers", len(waiting | holding)),
    )
