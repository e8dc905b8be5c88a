"""The classic verbs: what each means on a queue (CONTRACT sections 2 and 3).

A verb is two functions: one parses its line, once for each different line; the
other calls the engine and answers. The table at the end joins them.
"""

from __future__ import annotations

from typing import Final

from redqueue.engine.admission import capped
from redqueue.engine.broker import Swap
from redqueue.engine.consumer import ANYBODY, Reservation
from redqueue.engine.queue import Queue
from redqueue.journal import record as rec
from redqueue.protocol import operators, reads, replies, stats
from redqueue.protocol.key import BadKey, parse_holder, parse_name, parse_put
from redqueue.protocol.permissions import may_end
from redqueue.protocol.replies import DELETED, NOT_FOUND, STORED
from redqueue.protocol.request import MAX_BODY, BadRequest, Parse, Request, Run, signed, take_noreply, unsigned
from redqueue.protocol.session import COMMIT, Session

_U64: Final = 1 << 64

# -- storage ------------------------------------------------------------------


def parse_storage(words: list[bytes], run: Run) -> Request:
    """``<verb> <key> <flags> <exptime> <bytes> [noreply]``"""
    return _parse_storage(words, run, 4)


def parse_cas(words: list[bytes], run: Run) -> Request:
    """``cas <key> <flags> <exptime> <bytes> <cas unique> [noreply]``"""
    return _parse_storage(words, run, 5)


def _parse_storage(words: list[bytes], run: Run, arguments: int) -> Request:
    request = Request(run)
    size = unsigned(words[3], 31) if len(words) > 3 else None
    if size is None or size > MAX_BODY:
        raise BadRequest(replies.BAD_FORMAT)
    if len(words) > arguments:
        request.noreply = take_noreply(words)
    flags = unsigned(words[1], 32)
    exptime = signed(words[2])
    token = unsigned(words[4], 64) if len(words) > 4 else 0
    if len(words) != arguments or flags is None or exptime is None or token is None:
        raise BadRequest(replies.BAD_FORMAT, skip=size)
    try:
        key = parse_put(words[0])
    except BadKey as error:
        raise BadRequest(error.reply, skip=size) from None
    request.queue, request.delay = key.queue, key.delay
    request.flags, request.exptime, request.size, request.token = flags, exptime, size, token
    request.reply = STORED
    return request


def parse_set(words: list[bytes], run: Run) -> Request:
    """``set <key> <flags> <exptime> <bytes> [noreply]``"""
    request = parse_storage(words, run)
    if request.delay:
        request.run = run_put
    return request


def parse_replace(words: list[bytes], run: Run) -> Request:
    """``replace <key> <flags> <exptime> <bytes> [noreply]``"""
    request = parse_storage(words, run)
    if request.delay:
        raise BadRequest(replies.client_error("option /delay does not go with this command"), skip=request.size)
    return request


def run_set(session: Session, request: Request, body: bytes) -> None:
    """``set`` and ``append``: put an item at the end. The hot path."""
    broker = session.broker
    session.counters.cmd_set += 1
    expires = 0
    if request.exptime:
        moment = session.expiry(request.exptime)
        if moment is None:
            if not request.noreply:
                session.out.append(request.reply)
            return
        expires = moment
    queue = session.queues.get(request.queue)
    if queue is None:
        queue = broker.open(request.queue)
    if request.noreply:
        if not queue.put(body, request.flags, expires, None):
            session.counters.noreply_errors += 1
            return
    else:
        out = session.out
        if not queue.put(body, request.flags, expires, (out, len(out))):
            session.answer(request, replies.NOT_STORED)
            return
        out.append(request.reply)
    session.last_put = broker.batch


def run_put(session: Session, request: Request, body: bytes) -> None:
    """``set`` in all its forms: with a delay, with other words."""
    session.counters.cmd_set += 1
    expires = session.expiry(request.exptime)
    if expires is None:
        session.answer(request, STORED)
        return
    broker = session.broker
    queue = broker.open(request.queue)
    if queue.put(body, request.flags, expires, session.receipt(request), request.delay):
        session.answer(request, STORED)
        session.last_put = broker.batch
    else:
        session.answer_not_stored(request)


def run_prepend(session: Session, request: Request, body: bytes) -> None:
    """``prepend``: put an item at the head, the next one out."""
    session.counters.cmd_set += 1
    expires = session.expiry(request.exptime)
    if expires is None:
        session.answer(request, STORED)
        return
    queue = session.broker.open(request.queue)
    if queue.put_first(body, request.flags, expires, session.receipt(request), request.delay):
        _answer_after_commit(session, request, STORED)
    else:
        session.answer_not_stored(request)


def run_add(session: Session, request: Request, body: bytes) -> None:
    """``add``: put an item only where the queue holds nothing at all."""
    queue = session.queues.get(request.queue)
    if queue is not None:
        if not queue.is_settled():
            session.stall_and_retry()
            return
        queue.head()  # an expired item does not count
        if queue.items:
            session.counters.cmd_set += 1
            session.answer_refusal(request, request.unmet)
            return
    run_put(session, request, body)


def run_replace(session: Session, request: Request, body: bytes) -> None:
    """``replace``: change the payload of the ready head in place."""
    queue = _settled_queue(session, request)
    if queue is None and session.retrying:
        return
    session.counters.cmd_set += 1
    if not session.broker.takes_items():
        session.answer_not_stored(request)
        return
    if queue is None or queue.head() is None:
        session.answer_refusal(request, request.unmet)
        return
    expires = session.expiry(request.exptime)
    if expires is None:
        if not queue.is_settled():
            session.stall_and_retry()
            return
        queue.drop_head(session.receipt(request))
    else:
        queue.rewrite_head(body, request.flags, capped(queue, expires), session.receipt(request))
    _answer_after_commit(session, request, STORED)


def run_cas(session: Session, request: Request, body: bytes) -> None:
    """``cas``: acknowledge the reservation that the token stands for and put an item, both or neither."""
    counters = session.counters
    if session.user is not None:
        reservation = session.broker.tokens.get(request.token)
        denied = b"" if reservation is None else may_end(session.user, reservation.queue.name)
        if denied:
            counters.denied_requests += 1
            session.answer_refusal(request, denied)
            return
    counters.cmd_set += 1
    expires = session.expiry(request.exptime)
    receipt = session.receipt(request)
    outcome = session.broker.swap(request.token, request.queue, body, request.flags, expires, receipt, request.delay)
    if outcome is Swap.STORED:
        counters.cas_hits += 1
        _answer_after_commit(session, request, STORED)
    elif outcome is Swap.REFUSED:
        session.answer_not_stored(request)
    elif outcome is Swap.LOST:
        counters.cas_badval += 1
        session.answer(request, replies.EXISTS)
    else:
        counters.cas_misses += 1
        session.answer(request, NOT_FOUND)


def _answer_after_commit(session: Session, request: Request, reply: bytes) -> None:
    """Answer, and let the client's next request see what this one did."""
    session.answer(request, reply)
    session.stall(COMMIT)


def _settled_queue(session: Session, request: Request) -> Queue | None:
    """The queue of a request that depends on its head; None where there is none or the request must be retried."""
    if session.last_put > session.broker.committed:
        session.stall_and_retry()
        return None
    queue = session.queues.get(request.queue)
    if queue is not None and queue.flushed > session.broker.committed:
        session.stall_and_retry()  # its head is about to be dropped, and must not be written again behind that
        return None
    if queue is not None and queue.cold_cost and queue.is_reading_back(ANYBODY):
        session.stall_until_read_back(queue)
        return None
    return queue


# -- reservations ---------------------------------------------------------------


def parse_delete(words: list[bytes], run: Run) -> Request:
    """``delete <key> [0] [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    if len(words) == 2 and words[1] == b"0":
        words.pop()
    if len(words) != 1:
        raise BadRequest(replies.BAD_FORMAT)
    key = parse_holder(words[0])
    request.queue, request.consumer = key.queue, key.consumer
    request.reply = DELETED
    if key.consumer is not None:
        request.run = run_acknowledge
    return request


def run_delete(session: Session, request: Request, body: bytes) -> None:
    """``delete``: acknowledge the connection's oldest reservation. The hot path."""
    held = session.consumer.held.get(request.queue)
    if held is None:
        session.counters.delete_misses += 1
        session.answer(request, NOT_FOUND)
        return
    reservation = held[0]
    session.counters.delete_hits += 1
    if request.noreply:
        reservation.queue.acknowledge(reservation, None)
    else:
        out = session.out
        reservation.queue.acknowledge(reservation, (out, len(out)))
        out.append(request.reply)


def run_acknowledge(session: Session, request: Request, body: bytes) -> None:
    """``delete`` in all its forms: by token, as a named consumer, with other words."""
    reservation = reservation_to_end(session, request)
    if reservation is not None:
        session.counters.delete_hits += 1
        reservation.queue.acknowledge(reservation, session.receipt(request))
        session.answer(request, DELETED)


def reservation_to_end(session: Session, request: Request) -> Reservation | None:
    """The reservation that a request is to end; None where it has to wait, or has been told that there is none."""
    if must_wait(session, request):
        session.stall_and_retry()
        return None
    reservation = held_reservation(session, request)
    if reservation is None:
        session.counters.delete_misses += 1
        session.answer(request, NOT_FOUND)
    return reservation


def must_wait(session: Session, request: Request) -> bool:
    """Whether this client's own put, not in the journal yet, may give the consumer something by another connection."""
    return request.consumer is not None and session.last_put > session.broker.committed


def held_reservation(session: Session, request: Request) -> Reservation | None:
    """The reservation that the request's token stands for on its queue, or else the consumer's oldest one; or None."""
    broker = session.broker
    if request.with_token:
        reservation = broker.tokens.get(request.token)
        return reservation if reservation is not None and reservation.queue.name == request.queue else None
    if request.consumer is None:
        return session.consumer.oldest(request.queue)
    consumer = broker.named.find(request.consumer)
    return consumer.oldest(request.queue) if consumer is not None else None


def parse_touch(words: list[bytes], run: Run) -> Request:
    """``touch <key> <exptime> [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    exptime = signed(words[1]) if len(words) == 2 else None
    if exptime is None:
        raise BadRequest(replies.BAD_FORMAT)
    key = parse_holder(words[0])
    request.queue, request.consumer = key.queue, key.consumer
    request.exptime = exptime
    return request


def run_touch(session: Session, request: Request, body: bytes) -> None:
    """``touch``: the consumer's oldest reservation gets another deadline."""
    if must_wait(session, request):
        session.stall_and_retry()
        return
    reservation = held_reservation(session, request)
    if reservation is None:
        session.counters.touch_misses += 1
        session.answer(request, NOT_FOUND)
        return
    session.counters.touch_hits += 1
    reservation.queue.touch(reservation, session.reservation_seconds(request.exptime))
    session.answer(request, replies.TOUCHED)


# -- counters -------------------------------------------------------------------


def parse_arithmetic(words: list[bytes], run: Run) -> Request:
    """``incr|decr <key> <value> [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    if len(words) != 2:
        raise BadRequest(replies.BAD_FORMAT)
    request.queue = parse_name(words[0])
    delta = unsigned(words[1], 64)
    if delta is None:
        raise BadRequest(replies.BAD_DELTA)
    request.delta = delta
    return request


def run_incr(session: Session, request: Request, body: bytes) -> None:
    """``incr``: add to the number that is the ready head."""
    _change_number(session, request, request.delta)


def run_decr(session: Session, request: Request, body: bytes) -> None:
    """``decr``: subtract from the number that is the ready head, down to 0."""
    _change_number(session, request, -request.delta)


def _change_number(session: Session, request: Request, delta: int) -> None:
    queue = _settled_queue(session, request)
    if queue is None and session.retrying:
        return
    head = queue.head() if queue is not None else None
    counters = session.counters
    if queue is None or head is None:
        if request.initial is not None:
            _begin_number(session, request, request.initial)
            return
        if delta > 0:
            counters.incr_misses += 1
        else:
            counters.decr_misses += 1
        session.answer(request, NOT_FOUND)
        return
    number = unsigned(rec.payload(head).rstrip(b" "), 64)
    if number is None:
        counters.noreply_errors += request.noreply
        session.answer(request, replies.NOT_A_NUMBER)
        return
    if delta > 0:
        counters.incr_hits += 1
        number = (number + delta) % _U64
    else:
        counters.decr_hits += 1
        number = max(0, number + delta)
    text = b"%d" % number
    expires = rec.expires(head)
    if request.ttl is not None:
        moment = session.expiry(request.ttl)
        expires = session.broker.clock.wall if moment is None else moment
    queue.rewrite_head(text, rec.flags(head), expires, session.receipt(request))
    _answer_after_commit(session, request, text + b"\r\n")


def _begin_number(session: Session, request: Request, number: int) -> None:
    """Put the number that a counter begins with, as the other protocols can."""
    session.counters.cmd_set += 1
    expires = session.expiry(request.exptime)
    text = b"%d" % number
    if expires is not None and not session.broker.open(request.queue).put(text, 0, expires, session.receipt(request)):
        session.answer_not_stored(request)
    else:
        _answer_after_commit(session, request, text + b"\r\n")


# -- the whole server -------------------------------------------------------------


def parse_flush_all(words: list[bytes], run: Run) -> Request:
    """``flush_all [delay] [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    delay = signed(words[0]) if len(words) == 1 else 0
    if len(words) > 1 or delay is None:
        raise BadRequest(replies.BAD_FORMAT)
    request.exptime = delay
    return request


def run_flush_all(session: Session, request: Request, body: bytes) -> None:
    """``flush_all``: drop every item of every queue, now or later."""
    session.counters.cmd_flush += 1
    seconds = session.reservation_seconds(request.exptime)
    if seconds:
        session.broker.flush_all_later(seconds)
        session.answer(request, replies.OK)
    else:
        session.broker.flush_all(session.receipt(request))
        _answer_after_commit(session, request, replies.OK)


def parse_flush(words: list[bytes], run: Run) -> Request:
    """``flush <key> [noreply]`` (Kestrel)"""
    request = Request(run)
    request.noreply = take_noreply(words)
    if len(words) != 1:
        raise BadRequest(replies.BAD_FORMAT)
    request.queue = parse_name(words[0])
    return request


def run_flush(session: Session, request: Request, body: bytes) -> None:
    """``flush``: drop every item of one queue."""
    session.counters.cmd_flush += 1
    queue = session.queues.get(request.queue)
    if queue is None:
        session.answer(request, replies.OK)
        return
    session.broker.flush(queue, session.receipt(request))
    _answer_after_commit(session, request, replies.OK)


def parse_alone(words: list[bytes], run: Run) -> Request:
    """A verb without arguments."""
    if words:
        raise BadRequest(replies.BAD_FORMAT)
    return Request(run)


def parse_verbosity(words: list[bytes], run: Run) -> Request:
    """``verbosity <level> [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    level = unsigned(words[0], 32) if len(words) == 1 else None
    if level is None:
        raise BadRequest(replies.BAD_FORMAT)
    request.delta = level
    return request


def run_version(session: Session, request: Request, body: bytes) -> None:
    """``version``"""
    session.answer(request, b"VERSION %s\r\n" % session.host.version.encode())


def run_verbosity(session: Session, request: Request, body: bytes) -> None:
    """``verbosity``: 0 logs what an operator must know, 1 and up everything."""
    session.host.set_verbosity(request.delta)
    session.answer(request, replies.OK)


def run_quit(session: Session, request: Request, body: bytes) -> None:
    """``quit``"""
    session.close_after_reply()


def parse_shutdown(words: list[bytes], run: Run) -> Request:
    """``shutdown [graceful]``"""
    if words not in ([], [b"graceful"]):
        raise BadRequest(replies.BAD_FORMAT)
    return Request(run)


def run_shutdown(session: Session, request: Request, body: bytes) -> None:
    """``shutdown``: end the server as SIGTERM does, where that is enabled."""
    if session.host.shut_down():
        session.close_after_reply()
    else:
        session.out.append(replies.SHUTDOWN_DISABLED)


COMMANDS: dict[bytes, tuple[Parse, Run]] = {
    b"set": (parse_set, run_set),
    b"append": (parse_set, run_set),
    b"add": (parse_storage, run_add),
    b"replace": (parse_replace, run_replace),
    b"prepend": (parse_storage, run_prepend),
    b"cas": (parse_cas, run_cas),
    b"get": (reads.parse_get, reads.run_get),
    b"gets": (reads.parse_gets, reads.run_read),
    b"gat": (reads.parse_gat, reads.run_read),
    b"gats": (reads.parse_gats, reads.run_read),
    b"delete": (parse_delete, run_delete),
    b"touch": (parse_touch, run_touch),
    b"incr": (parse_arithmetic, run_incr),
    b"decr": (parse_arithmetic, run_decr),
    b"flush": (parse_flush, run_flush),
    b"flush_all": (parse_flush_all, run_flush_all),
    **operators.COMMANDS,
    b"stats": (stats.parse_stats, stats.run_stats),
    b"version": (parse_alone, run_version),
    b"verbosity": (parse_verbosity, run_verbosity),
    b"quit": (parse_alone, run_quit),
    b"shutdown": (parse_shutdown, run_shutdown),
}
