"""Reserving items one after another over a connection, and the ends that a reservation can have."""

from __future__ import annotations

import math

from redqueue.cli.connection import Answer, Connection
from redqueue.cli.item import FLAGS, Item
from redqueue.cli.queue_name import meta_key

SLICE_SECONDS = 1.0
"""The longest single wait, so that a signal and a dead server are noticed."""


class Reservations:
    """What one connection reserves of one queue.

    :param seconds: the reservations' deadline; 0 for that of the queue
    :param held: items that may be reserved at a time; 0 for what the queue's settings say
    """

    def __init__(self, connection: Connection, queue: bytes, seconds: int = 0, held: int = 0) -> None:
        self._connection = connection
        self._queue = queue
        self._deadline = b" T%d" % seconds if seconds else b""
        self._held = b"/prefetch=%d" % held if held else b""
        self._key, self._end = meta_key(queue)

    def request(self, wait: float = 0.0) -> bytes:
        """The line that asks for the next item, and waits at most so many seconds."""
        waits = b"/t=%d" % math.ceil(wait * 1000) if wait > 0 else b""
        key, end = meta_key(self._queue, self._held + waits)
        return b"mg %b v c %b%b%b\r\n" % (key, FLAGS, self._deadline, end)

    def item(self, answer: Answer) -> Item | None:
        """The item of an answer; None for a miss."""
        return Item.of(self._queue, answer) if answer.code == b"VA" else None

    def take(self, wait: float = 0.0) -> Item | None:
        """Reserve the next item, waiting at most so many seconds."""
        self._connection.wait_longer(wait)
        self._connection.send(self.request(wait))
        return self.item(self._connection.answer())

    def acknowledgement(self, item: Item) -> bytes:
        """The line that acknowledges an item."""
        return b"md %b C%d%b\r\n" % (self._key, item.token, self._end)

    def acknowledge(self, item: Item) -> bool:
        """Acknowledge an item; returns False where the reservation was lost before."""
        return self.ask(self.acknowledgement(item))

    def give_back(self, item: Item, delay: int = 0) -> bool:
        """Give an item back, to be ready again after so many seconds; returns False where it was lost before."""
        after = b" T%d" % delay if delay else b""
        return self.ask(b"md %b I%b C%d%b\r\n" % (self._key, after, item.token, self._end))

    def set_aside(self, item: Item) -> bool:
        """Make an item a dead letter; returns False where it was lost before, or is one already."""
        return self.ask(b"md %b x C%d%b\r\n" % (self._key, item.token, self._end))

    def touch(self, item: Item) -> bool:
        """Begin the time up to the deadline anew; returns False where the reservation was lost before."""
        deadline = self._deadline or b" T0"
        return self.ask(b"mg %b%b C%d%b\r\n" % (self._key, deadline, item.token, self._end))

    def swap(self, item: Item, queue: bytes) -> bytes:
        """The request that acknowledges an item and puts it on another queue, both or neither.

        The answer is HD; EX where the reservation was lost before; NS where the other queue is full.
        """
        key, end = meta_key(queue)
        if item.flags:
            end += b" F%d" % item.flags
        if item.ttl >= 0:
            end += b" T%d" % self._connection.exptime(max(1, item.ttl))
        return b"ms %b %d%b C%d\r\n%b\r\n" % (key, len(item.payload), end, item.token, item.payload)

    def ask(self, line: bytes) -> bool:
        """Send a request; returns whether the answer is HD."""
        self._connection.send(line)
        return self._connection.answer().code == b"HD"
