"""What a client meets first where a file of users is set: nothing but its name and password goes through.

A text connection, whose client may speak meta commands later, sends them as
memcached's file authentication has it: as the body of a ``set``, of any key. A
binary one sends them by SASL (:mod:`redqueue.protocol.sasl`). Until they are
found right the session keeps a line and a body of a few hundred bytes, and no
request is made of either; then the gate puts itself out of the way.
"""

from __future__ import annotations

from redqueue.access.roles import User
from redqueue.protocol import replies, sasl
from redqueue.protocol.attempt import MAX_CREDENTIALS, MOST_REFUSALS, Checker, attempt
from redqueue.protocol.frames import REQUEST
from redqueue.protocol.request import MAX_BODY, unsigned
from redqueue.protocol.session import Session, foreign_protocol
from redqueue.protocol.unfinished import Swallow, Unfinished

MAX_LINE = 512
"""Bytes of a line before authentication."""

UNAUTHENTICATED = replies.client_error("unauthenticated")
FAILED = replies.client_error("authentication failure")
BAD_CREDENTIALS = replies.client_error("bad authentication token format")
BUSY = b"SERVER_ERROR too many attempts to authenticate, try again\r\n"

_SIZE_AT = {b"set": 4, b"add": 4, b"replace": 4, b"append": 4, b"prepend": 4, b"cas": 4, b"ms": 2}
"""Which word of the line is the length of the body behind it."""


class Gate:
    """What a session that has not authenticated is in the middle of.

    :param checker: knows users
    """

    __slots__ = ("_before", "_checker", "_noreply", "_refusals", "_session", "_swallow")

    def __init__(self, session: Session, checker: Checker) -> None:
        self._session = session
        self._checker = checker
        self._before: bytes | None = None
        self._swallow: Swallow | None = None
        self._refusals = 0
        self._noreply = False

    def progress(self) -> tuple[object, int] | None:
        """Whether something has arrived in part: how long all of it may take has a limit of its own."""
        return None

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived; the session keeps what comes behind an attempt to authenticate."""
        session = self._session
        if self._before is None and data[0] == REQUEST:
            door: Unfinished = sasl.SaslGate(session, self._checker)
            session.go_on_with(door)
            return door.feed(data)
        data = (self._before or b"") + data
        self._before = b""
        while data:
            if self._swallow is not None:
                rest = self._swallow.feed(data)
                if rest is None:
                    return None
                self._swallow = None
                data = rest
                continue
            line, newline, _ = data[: MAX_LINE + 2].partition(b"\n")
            if data[0] == 0x16:
                session.close_after_reply("it speaks TLS, and this port does not")
                return None
            if not newline:
                if len(line) > MAX_LINE + 1:
                    session.out.append(replies.LINE_TOO_LONG)
                    session.close_after_reply(f"a line of over {MAX_LINE} bytes without authentication")
                else:
                    self._before = data
                return None
            behind = self._take_line(line.removesuffix(b"\r"), data, len(line) + 1)
            if behind is None:
                return None
            data = behind
        return None

    def _take_line(self, line: bytes, data: bytes, after: int) -> bytes | None:
        """Take a line; returns what comes behind it, or None where that must wait, or nothing is taken any more.

        :param after: where in ``data`` the line ends
        """
        words = line.split()
        verb = words[0] if words else b""
        place = _SIZE_AT.get(verb, 0)
        size = unsigned(words[place], 31) if 0 < place < len(words) else None
        self._noreply = len(words) > 1 and words[-1] == b"noreply"
        if verb == b"quit":
            self._session.close_after_reply()
            return None
        if verb != b"set" or size is None or size > MAX_BODY:
            return self._refuse(UNAUTHENTICATED, words, size, data[after:])
        if size > MAX_CREDENTIALS:
            return self._refuse(BAD_CREDENTIALS, words, size, data[after:])
        end = after + size + 2
        if len(data) < end:
            self._before = data
            return None
        if not data.startswith(b"\r\n", end - 2):
            self._answer(replies.BAD_CHUNK)
            self._session.close_after_reply("a bad data chunk for name and password")
            return None
        name, _, password = data[after : end - 2].partition(b" ")
        if not name or not password:
            return self._refuse(BAD_CREDENTIALS, words, None, data[end:])
        session = self._session
        session.keep_first(data[end:])
        attempt(session, self._checker, name, password, self._succeed, self._fail)
        return None

    def _refuse(self, reply: bytes, words: list[bytes], size: int | None, behind: bytes) -> bytes | None:
        session = self._session
        session.counters.unauthenticated_requests += 1
        complaint = foreign_protocol(words)
        if complaint:
            session.close_after_reply(complaint)
            return None
        self._answer(reply)
        self._refusals += 1
        if self._refusals >= MOST_REFUSALS:
            session.close_after_reply(f"{self._refusals} requests without authentication")
            return None
        if size is not None:
            self._swallow = Swallow(size)
        return behind

    def _answer(self, reply: bytes) -> None:
        if not self._noreply:
            self._session.out.append(reply)

    def _succeed(self, user: User) -> None:
        self._session.become(user)
        self._answer(replies.STORED)

    def _fail(self, is_busy: bool) -> None:
        self._answer(BUSY if is_busy else FAILED)
