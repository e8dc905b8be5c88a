"""Authentication in the binary protocol: SASL with the mechanism PLAIN (RFC 4616), which all its clients know."""

from __future__ import annotations

from redqueue.access.roles import User
from redqueue.protocol.attempt import MAX_CREDENTIALS, MOST_REFUSALS, Checker, attempt
from redqueue.protocol.binary import AUTH_ERROR, HEAD, OK, TEMPORARY_FAILURE, frame, refusal
from redqueue.protocol.frames import REQUEST, Frames
from redqueue.protocol.session import Session

PLAIN = b"PLAIN"
_QUIT, _VERSION, _QUIT_QUIETLY, _LIST_MECHANISMS, _AUTHENTICATE = 0x07, 0x0B, 0x17, 0x20, 0x21


class SaslGate:
    """What a binary session that has not authenticated is in the middle of, from its first byte on.

    What goes through besides is what goes through in memcached: the version, and the list of mechanisms.

    :param checker: knows users
    """

    __slots__ = ("_before", "_checker", "_opaque", "_refusals", "_session", "_swallow")

    def __init__(self, session: Session, checker: Checker) -> None:
        self._session = session
        self._checker = checker
        self._before = b""
        self._swallow = 0
        self._refusals = 0
        self._opaque = b""

    def progress(self) -> tuple[object, int] | None:
        """As for :meth:`redqueue.protocol.gate.Gate.progress`."""
        return None

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived; the session keeps what comes behind an attempt to authenticate."""
        session = self._session
        data = self._before + data
        self._before = b""
        while data and not (session.stalled or session.closing):
            if self._swallow:
                swallowed = min(self._swallow, len(data))
                self._swallow -= swallowed
                data = data[swallowed:]
                continue
            if data[0] != REQUEST:
                session.counters.malformed_requests += 1
                session.close_after_reply("a binary request that does not begin with 0x80")
            elif len(data) < HEAD.size:
                self._before = data
                return None
            else:
                data = self._take_frame(data)
        return None

    def _take_frame(self, data: bytes) -> bytes:
        """Answer the frame that ``data`` begins with; returns what comes behind as much of it as was taken."""
        session = self._session
        _, opcode, key_size, extras_size, _, _, body_size, opaque, _ = HEAD.unpack_from(data)
        size = HEAD.size + body_size
        if opcode == _AUTHENTICATE and key_size + extras_size <= body_size <= MAX_CREDENTIALS:
            if len(data) < size:
                self._before = data
                return b""
            key = HEAD.size + extras_size
            mechanism, message = data[key : key + key_size], data[key + key_size : size]
            self._opaque = opaque
            self._authenticate(mechanism, message, data[size:])
            return b"" if session.stalled else data[size:]
        self._swallow = size
        if opcode == _LIST_MECHANISMS:
            session.out.append(frame(opcode, opaque, OK, PLAIN))
        elif opcode == _VERSION:
            session.out.append(frame(opcode, opaque, OK, session.host.version.encode()))
        elif opcode in (_QUIT, _QUIT_QUIETLY):
            if opcode == _QUIT:
                session.out.append(frame(opcode, opaque, OK, b""))
            session.close_after_reply()
        else:
            self._refuse(opcode, opaque, b"")
        return data

    def _authenticate(self, mechanism: bytes, message: bytes, behind: bytes) -> None:
        identity, _, credentials = message.partition(b"\0")
        name, nul, password = credentials.partition(b"\0")
        if mechanism != PLAIN:
            self._refuse(_AUTHENTICATE, self._opaque, b"the mechanism is PLAIN")
        elif not nul or identity not in (b"", name):
            self._refuse(_AUTHENTICATE, self._opaque, b"a message of PLAIN is NUL, name, NUL, password")
        else:
            self._session.keep_first(behind)
            attempt(self._session, self._checker, name, password, self._succeed, self._fail)

    def _refuse(self, opcode: int, opaque: bytes, reason: bytes) -> None:
        session = self._session
        session.counters.unauthenticated_requests += 1
        session.out.append(refusal(opcode, opaque, AUTH_ERROR, reason))
        self._refusals += 1
        if self._refusals >= MOST_REFUSALS:
            session.close_after_reply(f"{self._refusals} requests without authentication")

    def _succeed(self, user: User) -> None:
        session = self._session
        session.become(user)
        session.go_on_with(Frames(session))
        session.out.append(frame(_AUTHENTICATE, self._opaque, OK, b"Authenticated"))

    def _fail(self, is_busy: bool) -> None:
        status = TEMPORARY_FAILURE if is_busy else AUTH_ERROR
        self._session.out.append(refusal(_AUTHENTICATE, self._opaque, status))
