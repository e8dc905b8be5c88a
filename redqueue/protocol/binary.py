"""The binary protocol's operations: what each means on a queue (CONTRACT section 5).

They run the functions of the classic verbs; what is here is how a frame says
what it wants, and how an outcome is said in a frame. All integers are
big-endian. A request's CAS field is a token where it is not 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from redqueue.engine.consumer import Reservation
from redqueue.journal import record as rec
from redqueue.protocol import classic, replies, stats
from redqueue.protocol.key import Key, parse, parse_get, parse_holder, parse_put
from redqueue.protocol.reads import Reading, must_settle
from redqueue.protocol.request import BadRequest, Request, Run
from redqueue.protocol.session import Session

RESPONSE: Final = 0x81

OK: Final = 0x00
KEY_NOT_FOUND: Final = 0x01
KEY_EXISTS: Final = 0x02
TOO_LARGE: Final = 0x03
INVALID: Final = 0x04
NOT_STORED: Final = 0x05
NOT_A_NUMBER: Final = 0x06
AUTH_ERROR: Final = 0x20
UNKNOWN_COMMAND: Final = 0x81
OUT_OF_MEMORY: Final = 0x82
TEMPORARY_FAILURE: Final = 0x86

HEAD: Final = Struct(">BBHBBHI4sQ")
"""Magic, opcode, key length, extras length, data type, status (of a request: vbucket), length of all three parts of
the body, opaque, CAS."""
_FLAGS: Final = Struct(">I")
_EXPTIME: Final = Struct(">i")
_FLAGS_AND_EXPTIME: Final = Struct(">Ii")
_ARITHMETIC: Final = Struct(">QQI")
_U64: Final = Struct(">Q")
_GET_OPTIONS: Final = (b"abort", b"as", b"close", b"delay", b"open", b"peek", b"prefetch", b"t")
_NEVER_CREATE: Final = 0xFFFFFFFF

_REASONS: Final = {
    KEY_NOT_FOUND: b"Not found",
    KEY_EXISTS: b"Data exists for key.",
    TOO_LARGE: b"Too large.",
    INVALID: b"Invalid arguments",
    NOT_STORED: b"Not stored.",
    NOT_A_NUMBER: b"Non-numeric server-side value for incr or decr",
    AUTH_ERROR: b"Auth failure.",
    UNKNOWN_COMMAND: b"Unknown command",
    OUT_OF_MEMORY: b"Out of memory",
    TEMPORARY_FAILURE: b"Temporary failure",
}
_STATUS: Final = {
    replies.STORED: OK,
    replies.DELETED: OK,
    replies.TOUCHED: OK,
    replies.OK: OK,
    replies.NOT_FOUND: KEY_NOT_FOUND,
    replies.EXISTS: KEY_EXISTS,
    replies.NOT_STORED: NOT_STORED,
    replies.NOT_A_NUMBER: NOT_A_NUMBER,
    replies.OUT_OF_MEMORY: OUT_OF_MEMORY,
}


_CLIENT_ERROR: Final = b"CLIENT_ERROR "
_NOT_PERMITTED: Final = _CLIENT_ERROR + b"not permitted"


# -- frames ---------------------------------------------------------------------


def frame(
    opcode: int, opaque: bytes, status: int, value: bytes, *, extras: bytes = b"", key: bytes = b"", cas: int = 0
) -> bytes:
    """A response."""
    size = len(extras) + len(key) + len(value)
    head = HEAD.pack(RESPONSE, opcode, len(key), len(extras), 0, status, size, opaque, cas)
    return b"".join((head, extras, key, value))


def refusal(opcode: int, opaque: bytes, status: int, reason: bytes = b"") -> bytes:
    """A response to what cannot be done."""
    return frame(opcode, opaque, status, reason or _REASONS[status])


def _say(request: Request, reply: bytes) -> bytes:
    """An outcome of the classic verbs, in a frame."""
    status = _STATUS.get(reply)
    if status:
        return refusal(request.opcode, request.opaque, status)
    if reply.startswith(_NOT_PERMITTED):
        return refusal(request.opcode, request.opaque, AUTH_ERROR, reply[len(_CLIENT_ERROR) : -2])
    if request.quiet:
        return b""
    if status == OK:
        return frame(request.opcode, request.opaque, OK, b"")
    text = reply[:-2]
    value = _U64.pack(int(text)) if text.isdigit() else text.removeprefix(b"VERSION ")
    return frame(request.opcode, request.opaque, OK, value)


# -- requests --------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """What an opcode stands for.

    :ivar parse: fills in a request from key, extras and CAS; may raise BadKey and BadRequest
    :ivar run: carries it out
    :ivar extras: lengths that the extras may have
    :ivar key: whether there must be a key; None for perhaps
    :ivar value: whether there may be a value
    :ivar quiet: whether the likely outcome is not answered
    """

    parse: Callable[[Request, bytes, bytes, int], None]
    run: Run
    extras: tuple[int, ...] = (0,)
    key: bool | None = True
    value: bool = False
    quiet: bool = False

    def takes(self, key: int, extras: int, value: int) -> bool:
        """Whether a frame whose parts have these lengths can be one of this operation."""
        return extras in self.extras and (self.key is None or self.key == (key > 0)) and (self.value or not value)


def make_request(operation: Operation, opcode: int, opaque: bytes, key: bytes, extras: bytes, cas: int) -> Request:
    """The request of a frame.

    :raises BadKey: for a bad key or options that do not go with the operation
    :raises BadRequest: for anything else that is wrong; its reply is the reason
    """
    request = Request(operation.run)
    request.opcode, request.opaque, request.quiet = opcode, opaque, operation.quiet
    request.say = _say
    request.denial = refusal(opcode, opaque, OUT_OF_MEMORY)
    operation.parse(request, key, extras, cas)
    return request


def _parse_get(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    request.keys = (parse_get(key, _GET_OPTIONS),)
    if extras:
        request.exptime = _EXPTIME.unpack(extras)[0]


def _parse_add(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    request.unmet = replies.EXISTS
    _parse_storage(request, key, extras, cas)


def _parse_storage(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    _set_put_key(request, parse_put(key))
    request.flags, request.exptime = _FLAGS_AND_EXPTIME.unpack(extras)
    _refuse_token(cas)


def _parse_set(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    """``set``, and with a token the swap, for which libmemcached sends a ``replace``."""
    if cas:
        request.run = classic.run_cas
        request.token = cas
    _parse_storage(request, key, extras, 0)


def _parse_replace(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    if not cas:
        parse(key, ())
        request.unmet = replies.NOT_FOUND
    _parse_set(request, key, extras, cas)


def _parse_concatenation(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    _set_put_key(request, parse_put(key))
    _refuse_token(cas)


def _set_put_key(request: Request, key: Key) -> None:
    request.queue, request.delay = key.queue, key.delay


def _refuse_token(cas: int) -> None:
    if cas:
        raise BadRequest(b"a CAS does not go with this command")


def _parse_held(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    """``delete`` and ``touch``: what the consumer holds, or the reservation of a token."""
    parsed = parse_holder(key)
    request.queue, request.consumer = parsed.queue, parsed.consumer
    request.token, request.with_token = cas, cas != 0
    if extras:
        request.exptime = _EXPTIME.unpack(extras)[0]


def _parse_arithmetic(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    request.queue = parse(key, ()).queue
    request.delta, initial, exptime = _ARITHMETIC.unpack(extras)
    if exptime != _NEVER_CREATE:
        request.initial, request.exptime = initial, exptime
    _refuse_token(cas)


def _parse_flush(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    if extras:
        request.exptime = _EXPTIME.unpack(extras)[0]


def _parse_verbosity(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    request.delta = _FLAGS.unpack(extras)[0]


def _parse_stat(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    asked = stats.parse_stats(key.split(), _run_stat)
    request.words, request.queue = asked.words, asked.queue


def _parse_nothing(request: Request, key: bytes, extras: bytes, cas: int) -> None:
    pass


# -- what is answered in another way than by the classic verbs -----------------------


def _run_get(session: Session, request: Request, body: bytes) -> None:
    if must_settle(session, request):
        session.stall_and_retry()
    else:
        Found(session, request, session.reservation_seconds(request.exptime)).go()


_WITH_KEY: Final = (0x0C, 0x0D, 0x23, 0x24)
"""Opcodes of the gets that show the key."""


class Found(Reading):
    """A get, with the reservation's token as the CAS of the answer."""

    __slots__ = ("_reply",)

    def __init__(self, session: Session, request: Request, timeout: float | None) -> None:
        super().__init__(session, request, timeout)
        self._reply = b""

    def add(self, key: Key, record: bytes, reservation: Reservation | None) -> None:
        request = self._request
        self._reply = frame(
            request.opcode,
            request.opaque,
            OK,
            rec.payload(record),
            extras=_FLAGS.pack(rec.flags(record)),
            key=key.wire if request.opcode in _WITH_KEY else b"",
            cas=0 if reservation is None else self._session.broker.token_of(reservation),
        )

    def reply(self) -> bytes:
        request = self._request
        if self._reply or request.quiet:
            return self._reply
        if request.opcode in _WITH_KEY:
            return frame(request.opcode, request.opaque, KEY_NOT_FOUND, b"", key=request.keys[0].wire)
        return refusal(request.opcode, request.opaque, KEY_NOT_FOUND)


def _run_noop(session: Session, request: Request, body: bytes) -> None:
    session.answer(request, replies.OK)


def _run_quit(session: Session, request: Request, body: bytes) -> None:
    session.answer(request, replies.OK)
    session.close_after_reply()


def _run_stat(session: Session, request: Request, body: bytes) -> None:
    parts = []
    for line in stats.stat_lines(session, request).split(b"\r\n"):
        if line.startswith(b"STAT "):
            _, name, value = line.split(b" ", 2)
            parts.append(frame(request.opcode, request.opaque, OK, value, key=name))
    parts.append(frame(request.opcode, request.opaque, OK, b""))
    reply = b"".join(parts)
    session.out.append(reply)
    session.count_output(len(reply))


def _quietly(operation: Operation) -> Operation:
    return Operation(operation.parse, operation.run, operation.extras, operation.key, operation.value, quiet=True)


_GET: Final = Operation(_parse_get, _run_get)
_GAT: Final = Operation(_parse_get, _run_get, extras=(4,))
_SET: Final = Operation(_parse_set, classic.run_put, extras=(8,), value=True)
_ADD: Final = Operation(_parse_add, classic.run_add, extras=(8,), value=True)
_REPLACE: Final = Operation(_parse_replace, classic.run_replace, extras=(8,), value=True)
_APPEND: Final = Operation(_parse_concatenation, classic.run_put, value=True)
_PREPEND: Final = Operation(_parse_concatenation, classic.run_prepend, value=True)
_DELETE: Final = Operation(_parse_held, classic.run_acknowledge)
_INCREMENT: Final = Operation(_parse_arithmetic, classic.run_incr, extras=(20,))
_DECREMENT: Final = Operation(_parse_arithmetic, classic.run_decr, extras=(20,))
_QUIT: Final = Operation(_parse_nothing, _run_quit, key=False)
_FLUSH: Final = Operation(_parse_flush, classic.run_flush_all, extras=(0, 4), key=False)

OPERATIONS: Final = {
    0x00: _GET,
    0x01: _SET,
    0x02: _ADD,
    0x03: _REPLACE,
    0x04: _DELETE,
    0x05: _INCREMENT,
    0x06: _DECREMENT,
    0x07: _QUIT,
    0x08: _FLUSH,
    0x09: _quietly(_GET),
    0x0A: Operation(_parse_nothing, _run_noop, key=False),
    0x0B: Operation(_parse_nothing, classic.run_version, key=False),
    0x0C: _GET,
    0x0D: _quietly(_GET),
    0x0E: _APPEND,
    0x0F: _PREPEND,
    0x10: Operation(_parse_stat, _run_stat, key=None),
    0x11: _quietly(_SET),
    0x12: _quietly(_ADD),
    0x13: _quietly(_REPLACE),
    0x14: _quietly(_DELETE),
    0x15: _quietly(_INCREMENT),
    0x16: _quietly(_DECREMENT),
    0x17: _quietly(_QUIT),
    0x18: _quietly(_FLUSH),
    0x19: _quietly(_APPEND),
    0x1A: _quietly(_PREPEND),
    0x1B: Operation(_parse_verbosity, classic.run_verbosity, extras=(4,), key=False),
    0x1C: Operation(_parse_held, classic.run_touch, extras=(4,)),
    0x1D: _GAT,
    0x1E: _quietly(_GAT),
    0x23: _GAT,
    0x24: _quietly(_GAT),
}
"""By opcode. The three of SASL (0x20 to 0x22) are unknown commands, as in a memcached without it: clients that have a
password and are told so go on without. Where a password is wanted :mod:`redqueue.protocol.sasl` comes first."""
