"""The codec of a binary connection: bytes into frames, whatever pieces they arrive in."""

from __future__ import annotations

from typing import Final

from redqueue.protocol import binary
from redqueue.protocol.binary import (
    AUTH_ERROR,
    HEAD,
    INVALID,
    OPERATIONS,
    TOO_LARGE,
    UNKNOWN_COMMAND,
    Operation,
    refusal,
)
from redqueue.protocol.key import MAX_KEY, BadKey
from redqueue.protocol.permissions import VERBS, denial
from redqueue.protocol.request import BadRequest
from redqueue.protocol.session import Session
from redqueue.protocol.unfinished import Progress

REQUEST = 0x80
"""The first byte of every request."""


TURN_FRAMES: Final = 4096
"""Bytes of frames that are begun before others have their turn: at most 170 of them."""


class Frames:
    """What a session that speaks the binary protocol is in the middle of, from its first byte to its last.

    A frame that can not be carried out is refused once its head is there, and
    its body is swallowed and not kept.
    """

    __slots__ = ("_missing", "_pieces", "_refused", "_session", "_swallow")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pieces: list[bytes] = []
        self._missing = 0
        self._swallow = 0
        self._refused = object()

    def progress(self) -> Progress:
        """The frame that has arrived in part, or that is refused and still arriving."""
        if self._swallow:
            return self._refused, self._swallow
        return (self._pieces, self._missing) if self._pieces else None

    def feed(self, data: bytes) -> bytes | None:
        """Carry out the requests in ``data``, as far as may be now; the session keeps what must wait."""
        if self._swallow:
            swallowed = min(self._swallow, len(data))
            self._swallow -= swallowed
            data = data[swallowed:]
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return None
            data = b"".join(self._pieces)
            self._pieces = []
        self._run(data)
        return None

    def _run(self, data: bytes) -> None:
        session = self._session
        pos = 0
        end = len(data)
        limit = min(end, TURN_FRAMES)
        while pos < limit:
            if data[pos] != REQUEST:
                session.counters.malformed_requests += 1
                session.close_after_reply("a binary request that does not begin with 0x80")
                return
            if end - pos < HEAD.size:
                self._wait_for(data[pos:], HEAD.size)
                return
            _, opcode, key_size, extras_size, _, _, body_size, opaque, cas = HEAD.unpack_from(data, pos)
            start = pos
            body = pos + HEAD.size
            pos = body + body_size
            operation = OPERATIONS.get(opcode)
            status, reason = self._check(operation, key_size, extras_size, body_size)
            if operation is None or status:
                self._refuse(opcode, opaque, status, reason)
                self._swallow = max(0, pos - end)
                self._refused = object()
                continue
            if pos > end:
                self._wait_for(data[start:], HEAD.size + body_size)
                return
            key = body + extras_size
            value = key + key_size
            try:
                request = binary.make_request(operation, opcode, opaque, data[key:value], data[body:key], cas)
            except BadKey as error:
                self._refuse(opcode, opaque, INVALID, str(error).encode())
                continue
            except BadRequest as error:
                self._refuse(opcode, opaque, INVALID, error.reply.removeprefix(b"CLIENT_ERROR ").rstrip())
                continue
            if session.user is not None:
                denied = denial(session.user, VERBS.get(opcode, b""), request)
                if denied:
                    session.counters.denied_requests += 1
                    reason = denied.removeprefix(b"CLIENT_ERROR ").rstrip()
                    session.out.append(refusal(opcode, opaque, AUTH_ERROR, reason))
                    continue
            if not session.carry_out(request, data[value:pos]):
                pos = start
            if session.stalled or session.closing:
                session.keep_first(data[pos:])
                return
        if pos < end:
            session.wait_for_turn(data[pos:])

    def _check(self, operation: Operation | None, key: int, extras: int, body: int) -> tuple[int, bytes]:
        """The status to refuse a frame with whose parts have these lengths, and the reason; 0 for a good one."""
        value = body - key - extras
        if operation is None:
            return UNKNOWN_COMMAND, b""
        if value < 0 or not operation.takes(key, extras, value):
            return INVALID, b""
        if key > MAX_KEY:
            return INVALID, b"key too long: %d bytes, at most %d" % (key, MAX_KEY)
        if value > self._session.max_body:
            return TOO_LARGE, b""
        return 0, b""

    def _refuse(self, opcode: int, opaque: bytes, status: int, reason: bytes) -> None:
        self._session.counters.malformed_requests += 1
        self._session.out.append(refusal(opcode, opaque, status, reason))

    def _wait_for(self, start: bytes, size: int) -> None:
        self._pieces = [start]
        self._missing = size - len(start)
