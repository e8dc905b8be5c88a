"""What a session is in the middle of when the bytes that have arrived end too early.

Each takes what arrives next with ``feed`` and returns the bytes that are not its
own, or None while it needs more. ``progress`` is for somebody who looks now and then
how long it takes: what has arrived in part, the same object until it is whole, and
how many bytes of a body are still to come; None where nothing has arrived in part.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from redqueue.protocol.request import MAX_LINE, Request

Progress: TypeAlias = "tuple[object, int] | None"


class FirstByte:
    """The connection itself, of which nothing has arrived: its first byte tells the protocol."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes | None:
        """All of it, where it is a text protocol."""
        return data

    def progress(self) -> Progress:
        """None."""
        return None


class PartialLine:
    """The beginning of a command line."""

    __slots__ = ("_start",)

    def __init__(self, start: bytes) -> None:
        self._start = start

    def feed(self, data: bytes) -> bytes | None:
        """The line from its beginning and what comes behind it, once its end has come or it is too long."""
        self._start += data
        return self._start if b"\n" in data or len(self._start) > MAX_LINE + 1 else None

    def progress(self) -> Progress:
        """The line."""
        return self, 0


class PartialBody:
    """A request whose body is not all there.

    Its pieces are joined once, so that a body of many megabytes is not copied
    with every packet; memory is taken as the bytes arrive, not as announced.

    :param line: the request's line
    :param start: what is there of the body and the CRLF behind it
    """

    __slots__ = ("_missing", "_pieces", "line", "request")

    def __init__(self, request: Request, line: bytes, start: bytes) -> None:
        self.request = request
        self.line = line
        self._pieces = [start]
        self._missing = request.size + 2 - len(start)

    def feed(self, data: bytes) -> bytes | None:
        """What comes behind the body and its CRLF."""
        if len(data) < self._missing:
            self._pieces.append(data)
            self._missing -= len(data)
            return None
        self._pieces.append(data[: self._missing])
        return data[self._missing :]

    def progress(self) -> Progress:
        """The body."""
        return self, self._missing

    def whole(self) -> bytes:
        """The body and the two bytes behind it."""
        return b"".join(self._pieces)


class Swallow:
    """Bytes that belong to a refused request: so many, and then the rest of the line they end in."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def feed(self, data: bytes) -> bytes | None:
        """What comes behind them."""
        if len(data) <= self._size:
            self._size -= len(data)
            return None
        end = data.find(b"\n", self._size) + 1
        if not end:
            self._size = 0
            return None
        return data[end:]

    def progress(self) -> Progress:
        """What is refused."""
        return self, self._size


class Unfinished(Protocol):
    """What a session is in the middle of."""

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived; returns what comes behind it, or None while it needs more."""

    def progress(self) -> Progress:
        """What has arrived in part, and how many bytes of a body are to come."""
