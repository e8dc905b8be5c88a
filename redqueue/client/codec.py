"""Requests to the server as bytes, and what its replies mean. No sockets: both clients use it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from redqueue.client.errors import (
    AuthenticationFailed,
    QueueEmpty,
    QueueFull,
    RequestRefused,
    ReservationLost,
    ServerUnavailable,
)
from redqueue.protocol import key

ServerAddress = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""
MAX_SECONDS: Final = 2**31 - 1
_BODY: Final = re.compile(rb"VA (\d+)(?: |$)")
_BLANK: Final = re.compile(rb"[\x00-\x20\x7f]")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reply:
    """One reply.

    :ivar code: its first word
    :ivar rest: the words behind that
    :ivar body: the payload of a ``VA``
    """

    code: bytes
    rest: tuple[bytes, ...] = ()
    body: bytes = b""

    def number(self, letter: bytes) -> int:
        """The number that the flag ``letter`` asked for."""
        return next(int(word[1:]) for word in self.rest if word[:1] == letter)


class ReplyReader:
    """Finds replies in what a connection receives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._buffer += data

    def next(self) -> Reply | None:
        """The next complete reply; None where more has to come."""
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        end += 2
        body = b""
        if match := _BODY.match(line):
            size = int(match[1])
            if len(self._buffer) < end + size + 2:
                return None
            body = bytes(self._buffer[end : end + size])
            end += size + 2
        del self._buffer[:end]
        code, *rest = line.split(b" ")
        return Reply(code, tuple(rest), body)


@dataclass(frozen=True)
class Exchange(Generic[Result]):
    """A request, and how to read its reply.

    :ivar request: the bytes to send
    :ivar read: turns the reply into the result; raises what the reply says
    :ivar wait: seconds that the server may take beyond the usual
    """

    request: bytes
    read: Callable[[Reply], Result]
    wait: float = 0.0


@dataclass(frozen=True)
class Delivery:
    """An item as it was delivered.

    :ivar queue: the name
    :ivar body: the payload
    :ivar flags: as they were stored
    :ivar item_id: the number that the server gave the item
    :ivar token: of the reservation
    :ivar deliveries: how often it was delivered, this time included
    """

    queue: bytes
    body: bytes
    flags: int
    item_id: int
    token: int
    deliveries: int


def queue_name(name: str | bytes) -> bytes:
    """A name in bytes.

    :raises ValueError: where it is empty, or ends in what the server takes for an option of the key
    """
    wire = name.encode() if isinstance(name, str) else name
    if not wire:
        raise ValueError("a queue needs a name")
    found, options = key.split(wire)
    if options or found != wire:
        raise ValueError(f"queue name {name!r} ends in an option of the protocol; use another name")
    return wire


def log_in(user: str, password: str) -> Exchange[None]:
    """Authenticate; raises AuthenticationFailed."""
    body = f"{user} {password}".encode()

    def read(reply: Reply) -> None:
        if reply.code == b"CLIENT_ERROR":
            raise AuthenticationFailed(_text(reply))
        _expect(reply, b"STORED")

    return Exchange(b"set auth 0 0 %d\r\n%b\r\n" % (len(body), body), read)


def put(
    queue: bytes, body: str | bytes, *, flags: int = 0, ttl: float = 0, delay: float = 0, token: int = 0
) -> Exchange[int]:
    """Append an item, and with a token acknowledge that reservation, both or neither; the result is the item's id.

    :param ttl: seconds, rounded up; 0 for no end
    :param delay: seconds until it is ready
    :raises QueueFull, ReservationLost: by the reply
    """
    payload = body.encode() if isinstance(body, str) else body
    option = b"/delay=%b" % f"{_seconds('delay', delay):.3f}".encode() if delay else b""
    words = b"%d F%d T%d c" % (len(payload), flags, _exptime(ttl))
    if token:
        words += b" C%d" % token

    def read(reply: Reply) -> int:
        if reply.code == b"NS":
            raise QueueFull(f"queue {_show(queue)} is full")
        _held(reply, queue)
        return reply.number(b"c")

    return Exchange(_line(b"ms", queue + option, words) + payload + b"\r\n", read)


def reserve(queue: bytes, *, wait: float, deadline: int) -> Exchange[Delivery]:
    """Reserve the head, and wait for one up to ``wait`` seconds.

    :param deadline: seconds until the reservation ends
    :raises QueueEmpty: by the reply
    """
    if not isinstance(deadline, int) or not 1 <= deadline <= MAX_SECONDS:
        raise ValueError(f"deadline is {deadline!r}; it is whole seconds from 1 to {MAX_SECONDS}")
    option = b"/t=%d" % min(math.ceil(_seconds("wait", wait) * 1000), key.MAX_WAIT_MS)

    def read(reply: Reply) -> Delivery:
        if reply.code == b"EN":
            raise QueueEmpty(f"no item came to queue {_show(queue)} within {wait:g} s")
        _expect(reply, b"VA")
        flags, item_id, token, count = map(reply.number, (b"f", b"i", b"c", b"d"))
        return Delivery(queue, reply.body, flags, item_id, token, count)

    return Exchange(_line(b"mg", queue + option, b"v c f i d T%d" % deadline), read, wait)


def touch(queue: bytes, token: int, seconds: int) -> Exchange[None]:
    """Give a reservation a deadline so many seconds from now; raises ReservationLost."""
    return Exchange(_line(b"mg", queue, b"T%d C%d" % (seconds, token)), lambda reply: _held(reply, queue))


def acknowledge(queue: bytes, token: int) -> Exchange[None]:
    """Acknowledge; raises ReservationLost."""
    return Exchange(_line(b"md", queue, b"C%d" % token), lambda reply: _held(reply, queue))


def give_back(queue: bytes, token: int, delay: float = 0) -> Exchange[None]:
    """Give back, to be ready after ``delay`` seconds, rounded up; raises ReservationLost."""
    later = b" T%d" % math.ceil(_seconds("delay", delay)) if delay else b""
    return Exchange(_line(b"md", queue, b"I%b C%d" % (later, token)), lambda reply: _held(reply, queue))


def _line(verb: bytes, wire: bytes, words: bytes) -> bytes:
    if _BLANK.search(wire):
        return b"%b %b %b b\r\n" % (verb, base64.b64encode(wire), words)
    return b"%b %b %b\r\n" % (verb, wire, words)


def _seconds(what: str, value: float) -> float:
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{what} is {value!r}; it is seconds from 0 to {MAX_SECONDS}")
    return value


def _exptime(ttl: float) -> int:
    seconds = math.ceil(_seconds("ttl", ttl))
    if seconds > 2592000:
        raise ValueError(f"ttl is {ttl!r}; it is seconds up to 30 days (2592000)")
    return seconds


def _show(queue: bytes) -> str:
    return queue.decode(errors="backslashreplace")


def _text(reply: Reply) -> str:
    return b" ".join(reply.rest or (reply.code,)).decode(errors="replace")


def _held(reply: Reply, queue: bytes) -> None:
    if reply.code in (b"NF", b"EX", b"EN"):
        raise ReservationLost(f"the reservation of queue {_show(queue)} has ended before")
    _expect(reply, b"HD")


def _expect(reply: Reply, code: bytes) -> None:
    if reply.code == code:
        return
    text = _text(reply)
    if reply.code == b"SERVER_ERROR" and "too large" not in text:
        raise ServerUnavailable(text)
    raise RequestRefused(text)
