"""One connection to RedQueue that sends many requests at once and knows every byte of their replies.

Each item's payload is its number, so that an item lost, repeated or out of its
order is seen.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from benchmarks.dialects import ReplyError

BATCH = 50
"""Items put or taken with one send."""
_IN_FLIGHT = 2
_STALL_SECONDS = 60.0
_LARGEST = 64 << 10
"""Bytes of payload in one send."""

Exchange = tuple[bytes, bytes]
"""What is sent, and the reply that is due."""


def payload(number: int, size: int) -> bytes:
    """The payload of an item."""
    return b"%d" % number + b"." * (size - len(str(number)))


class Pipeline:
    """A connection; close it at the end.

    :param between: called after every reply to what was sent at once
    """

    def __init__(self, address: tuple[str, int], between: Callable[[], object] = lambda: None) -> None:
        self._socket = socket.create_connection(address, _STALL_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._between = between

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def run(self, exchanges: Iterable[Exchange]) -> None:
        """Send, and compare what comes.

        :raises ReplyError: when that is not what is due
        :raises OSError: when nothing comes
        """
        due: deque[bytes] = deque()
        rest = b""
        for request, reply in exchanges:
            if len(due) == _IN_FLIGHT:
                rest = self._await(due.popleft(), rest)
            self._socket.sendall(request)
            due.append(reply)
        while due:
            rest = self._await(due.popleft(), rest)

    def _await(self, reply: bytes, received: bytes) -> bytes:
        """Await ``reply``; returns what has come behind it."""
        pieces, length = [received], len(received)
        while length < len(reply):
            data = self._socket.recv(1 << 20)
            if not data or (length == 0 and not reply.startswith(data[:5])):
                raise ReplyError(data)
            pieces.append(data)
            length += len(data)
        received = b"".join(pieces)
        if not received.startswith(reply):
            at = next(i for i, (one, other) in enumerate(zip(received, reply, strict=False)) if one != other)
            raise ReplyError(received[max(0, at - 60) :])
        self._between()
        return received[len(reply) :]

    def put(self, queue: bytes, numbers: range, size: int) -> None:
        """Put the items with these numbers, ``size`` bytes each."""
        self.run(puts(queue, numbers, size))

    def take(self, queue: bytes, numbers: range, size: int) -> None:
        """Reserve and acknowledge items, which must be those with these numbers in this order."""
        self.run(takes(queue, numbers, size))

    def ask(self, request: bytes, reply: bytes, times: int = 1) -> None:
        """Send a request so many times."""
        while times > 0:
            count = min(times, BATCH)
            self.run([(request * count, reply * count)])
            times -= count


def _batches(numbers: range, size: int) -> Iterator[range]:
    most = max(1, min(BATCH, _LARGEST // size))
    for at in range(0, len(numbers), most):
        yield numbers[at : at + most]


def puts(queue: bytes, numbers: range, size: int) -> Iterator[Exchange]:
    """Exchanges that put items."""
    line = b"set %b 0 0 %d\r\n" % (queue, size)
    for batch in _batches(numbers, size):
        request = b"".join([b"%b%b\r\n" % (line, payload(number, size)) for number in batch])
        yield request, b"STORED\r\n" * len(batch)


def takes(queue: bytes, numbers: range, size: int) -> Iterator[Exchange]:
    """Exchanges that reserve and acknowledge items."""
    request = b"get %b\r\ndelete %b\r\n" % (queue, queue)
    value = b"VALUE %b 0 %d\r\n" % (queue, size)
    for batch in _batches(numbers, size):
        reply = [b"%b%b\r\nEND\r\nDELETED\r\n" % (value, payload(number, size)) for number in batch]
        yield request * len(batch), b"".join(reply)
