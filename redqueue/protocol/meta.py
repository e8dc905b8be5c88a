"""The meta commands: mg ms md ma mn me (CONTRACT section 5).

They mean what the classic verbs mean, and run the same functions; what is here
is their syntax. Those that read are in :mod:`redqueue.protocol.meta_reads`.
"""

from __future__ import annotations

from redqueue.engine import dead_letters
from redqueue.protocol import classic, meta_reads, replies
from redqueue.protocol import key as keys
from redqueue.protocol.key import BadKey
from redqueue.protocol.meta_line import begin, number, parse_key, say, take_token, u32, u64
from redqueue.protocol.request import MAX_BODY, BadRequest, Parse, Request, Run, signed, unsigned
from redqueue.protocol.session import COMMIT, Session

BAD_MODE_LENGTH = replies.client_error("incorrect length for M token")
BAD_SET_MODE = replies.client_error("invalid mode for ms M token")
BAD_COUNT_MODE = replies.client_error("invalid mode for ma M token")
BAD_INITIAL = replies.client_error("invalid numeric initial value")
BAD_DELTA = replies.client_error("invalid numeric delta value")

# -- ms -------------------------------------------------------------------------


def parse_ms(words: list[bytes], run: Run) -> Request:
    """``ms <key> <datalen> <flags>*``"""
    size = unsigned(words[1], 31) if len(words) > 1 else None
    if size is None or size > MAX_BODY:
        raise BadRequest(replies.BAD_FORMAT)
    try:
        return _parse_ms(words, size)
    except BadRequest as error:
        raise BadRequest(error.reply, skip=size) from None
    except BadKey as error:
        raise BadRequest(error.reply, skip=size) from None


def _parse_ms(words: list[bytes], size: int) -> Request:
    wire = words.pop(0)
    request, flags = begin([wire, *words[1:]], classic.run_set, b"bcCFkMOqsT", b"EI")
    key = parse_key(wire, flags, lambda name, raw: keys.parse(name, (b"delay",), raw=raw))
    request.queue, request.delay, request.size = key.queue, key.delay, size
    if b"F" in flags:
        request.flags = number(flags, b"F", u32)
    if b"T" in flags:
        request.exptime = number(flags, b"T", signed)
    if b"s" in flags:
        request.suffix += b" s%d" % size
    mode = flags.get(b"M", b"S").upper()
    if len(mode) != 1:
        raise BadRequest(BAD_MODE_LENGTH)
    run = _SET_MODES.get(mode)
    if run is None:
        raise BadRequest(BAD_SET_MODE)
    if mode == b"R" and key.delay:
        raise BadKey("option /delay goes with no mode R")
    if b"C" in flags:
        if mode != b"S":
            raise BadRequest(replies.client_error("flag C goes with no mode but S"))
        request.token = number(flags, b"C", u64)
        run = classic.run_cas
    if b"c" in flags:
        request.verb, request.run = classic.run_put if run is classic.run_set else run, run_set_with_id
    else:
        request.run = classic.run_put if key.delay and run is classic.run_set else run
    request.reply = say(request, replies.STORED)
    return request


_SET_MODES: dict[bytes, Run] = {
    b"S": classic.run_set,
    b"A": classic.run_set,
    b"E": classic.run_add,
    b"P": classic.run_prepend,
    b"R": classic.run_replace,
}


def run_set_with_id(session: Session, request: Request, body: bytes) -> None:
    """``ms`` that asks for the id of the item it has put."""
    broker = session.broker
    before = broker.last_id
    at = len(session.out)
    request.verb(session, request, body)
    if len(session.out) > at and session.out[at] == request.reply:
        item = broker.last_id if broker.last_id > before else 0
        session.out[at] = b"" if request.quiet else b"HD%b c%d\r\n" % (request.suffix, item)


# -- md -------------------------------------------------------------------------


def parse_md(words: list[bytes], run: Run) -> Request:
    """``md <key> <flags>*``"""
    request, flags = begin(words, classic.run_delete, b"bCIkOqTx", b"E")
    request.hides_misses = True
    key = parse_key(words[0], flags, lambda name, raw: keys.parse(name, (b"as",), raw=raw))
    request.queue, request.consumer = key.queue, key.consumer
    take_token(request, flags, words, b"md")
    if b"C" in flags and key.consumer is not None:
        raise BadKey("option /as= goes with no flag C")
    if b"T" in flags:
        if b"I" not in flags:
            raise BadRequest(replies.client_error("flag T goes with flag I in this command"))
        request.exptime = number(flags, b"T", signed)
    if b"x" in flags:
        if b"I" in flags:
            raise BadRequest(replies.client_error("flag x goes with no flag I"))
        request.run = run_set_aside
    elif b"I" in flags:
        request.run = run_give_back
    elif b"C" in flags:
        request.run = run_acknowledge
    elif key.consumer is not None:
        request.run = classic.run_acknowledge
    request.reply = say(request, replies.DELETED)
    return request


def run_acknowledge(session: Session, request: Request, body: bytes) -> None:
    """``md`` with ``C``: acknowledge by token. The hot path."""
    reservation = session.broker.tokens.get(request.token)
    if reservation is None or reservation.queue.name != request.queue:
        session.counters.delete_misses += 1
        session.answer(request, replies.NOT_FOUND)
        return
    session.counters.delete_hits += 1
    out = session.out
    reservation.queue.acknowledge(reservation, (out, len(out)))
    out.append(request.reply)


def run_give_back(session: Session, request: Request, body: bytes) -> None:
    """``md`` with ``I``: the item is ready again, at once or ``T`` seconds from now."""
    reservation = classic.reservation_to_end(session, request)
    if reservation is None:
        return
    session.counters.delete_hits += 1
    reservation.queue.cancel(reservation, session.reservation_seconds(request.exptime) or 0.0)
    session.answer(request, replies.DELETED)


def run_set_aside(session: Session, request: Request, body: bytes) -> None:
    """``md`` with ``x``: the item is a dead letter from here on."""
    reservation = classic.reservation_to_end(session, request)
    if reservation is None:
        return
    queue = session.queues[request.queue]
    if not dead_letters.can_bury(queue):
        session.stall_and_retry()
        return
    session.counters.delete_hits += 1
    is_set_aside = dead_letters.set_aside(queue, reservation, session.receipt(request))
    session.answer(request, replies.DELETED if is_set_aside else replies.NOT_STORED)
    session.stall(COMMIT)  # the client's next request sees it


# -- ma -------------------------------------------------------------------------


def parse_ma(words: list[bytes], run: Run) -> Request:
    """``ma <key> <flags>*``"""
    request, flags = begin(words, run, b"bDJkMNOqTv", b"cCEt")
    request.queue = parse_key(words[0], flags, lambda name, raw: keys.parse(name, (), raw=raw)).queue
    mode = flags.get(b"M", b"I").upper()
    if len(mode) != 1:
        raise BadRequest(BAD_MODE_LENGTH)
    if mode not in b"I+D-":
        raise BadRequest(BAD_COUNT_MODE)
    if mode in b"D-":
        request.run = classic.run_decr
    request.hides_misses = True
    request.delta = number(flags, b"D", u64, BAD_DELTA) if b"D" in flags else 1
    initial = number(flags, b"J", u64, BAD_INITIAL) if b"J" in flags else 0
    if b"N" in flags:
        request.exptime = number(flags, b"N", signed)
        request.initial = initial
    if b"T" in flags:
        request.ttl = number(flags, b"T", signed)
    request.words = tuple(flags)
    request.say = _say_number
    return request


def _say_number(request: Request, reply: bytes) -> bytes:
    text = reply[:-2]
    if not text.isdigit():
        return say(request, reply)
    if b"v" in request.words:
        return b"VA %d%b\r\n%b\r\n" % (len(text), request.suffix, text)
    return b"" if request.quiet else b"HD%b\r\n" % request.suffix


# -- mn -----------------------------------------------------------------------


def parse_mn(words: list[bytes], run: Run) -> Request:
    """``mn``"""
    return Request(run)


def run_mn(session: Session, request: Request, body: bytes) -> None:
    """``mn``: the end of a series of quiet commands."""
    session.out.append(b"MN\r\n")


COMMANDS: dict[bytes, tuple[Parse, Run]] = {
    b"mg": (meta_reads.parse_mg, meta_reads.run_look),
    b"ms": (parse_ms, classic.run_set),
    b"md": (parse_md, classic.run_delete),
    b"ma": (parse_ma, classic.run_incr),
    b"mn": (parse_mn, run_mn),
    b"me": (meta_reads.parse_me, meta_reads.run_me),
}
