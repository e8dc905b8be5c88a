"""The figures that a server tells by ``stats``, with names and numbers made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from redqueue.cli.connection import Connection
from redqueue.cli.notation import bytes_fields

PAGE = 1000
"""Queues asked for in one request, as many as the server tells of."""


@dataclass(frozen=True)
class QueueFigures:
    """What ``stats brief`` tells of a queue.

    :ivar age: milliseconds that its head has been there
    :ivar returned: reservations that ended without an acknowledgement
    :ivar dead: items that have gone from here to the dead letters
    """

    name: bytes
    items: int = 0
    reserved: int = 0
    delayed: int = 0
    bytes: int = 0
    age: int = 0
    waiters: int = 0
    paused: int = 0
    put: int = 0
    delivered: int = 0
    returned: int = 0
    expired: int = 0
    discarded: int = 0
    dead: int = 0

    @property
    def ready(self) -> int:
        """Items that a get would find."""
        return max(0, self.items - self.reserved - self.delayed)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **bytes_fields("queue", self.name),
            "ready": self.ready,
            "reserved": self.reserved,
            "delayed": self.delayed,
            "items": self.items,
            "bytes": self.bytes,
            "age": self.age / 1000,
            "waiters": self.waiters,
            "paused": bool(self.paused),
            "put": self.put,
            "delivered": self.delivered,
            "returned": self.returned,
            "expired": self.expired,
            "discarded": self.discarded,
            "dead": self.dead,
        }


_FIELDS = {name.encode(): name for name in QueueFigures.__dataclass_fields__ if name != "name"}


def brief_page(connection: Connection, first: int) -> list[QueueFigures]:
    """The queues from the one with the index ``first``, :data:`PAGE` at most."""
    page = []
    for name, text in connection.stats(b"brief %d %d" % (first, PAGE)):
        figures = {}
        for word in text.split(b" "):
            key, _, number = word.partition(b"=")
            if key in _FIELDS:
                figures[_FIELDS[key]] = int(number)
        page.append(QueueFigures(unquote_to_bytes(name), **figures))
    return page


def all_queues(connection: Connection) -> Iterator[QueueFigures]:
    """All queues, in pieces, so that the server is not held up; each once."""
    seen = set[bytes]()
    first = 0
    while True:
        page = brief_page(connection, first)
        for queue in page:
            if queue.name not in seen:
                seen.add(queue.name)
                yield queue
        if len(page) < PAGE:
            return
        first += len(page)


def texts(connection: Connection, argument: bytes) -> dict[str, str]:
    """The figures of ``stats ARGUMENT``, as they are written."""
    return {
        name.decode("utf-8", "backslashreplace"): value.decode("utf-8", "backslashreplace")
        for name, value in connection.stats(argument)
    }


def number_or_text(text: str) -> int | float | str:
    """A figure for JSON."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
