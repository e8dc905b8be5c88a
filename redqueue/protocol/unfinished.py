"""What a session is in the middle of when the bytes that have arrived end too early.

Each takes what arrives next with ``feed`` and returns the bytes that are not its
own, or None while it needs more.
"""

from __future__ import annotations

from typing import Protocol

from redqueue.protocol.request import Request


class FirstByte:
    """The connection itself, of which nothing has arrived: its first byte tells the protocol."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes | None:
        """All of it, where it is a text protocol."""
        return data


class PartialLine:
    """The beginning of a command line."""

    __slots__ = ("_start",)

    def __init__(self, start: bytes) -> None:
        self._start = start

    def feed(self, data: bytes) -> bytes | None:
        """The line from its beginning, with what has come now."""
        return self._start + data


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


class Unfinished(Protocol):
    """What a session is in the middle of."""

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived; returns what comes behind it, or None while it needs more."""
