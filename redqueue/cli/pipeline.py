"""Many puts on one connection, of which the answers are awaited behind them, and what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from redqueue.cli.connection import Connection, ConnectionLost

MOST_ITEMS = 1000
MOST_BYTES = 1 << 20
"""Puts that may be under way without an answer."""
_STORED = b"HD\r\n"


class Pipeline:
    """Puts items, in order, and counts.

    :param head: makes the command line of an item's length
    :ivar stored: items that the server has confirmed
    :ivar bytes: of their payloads
    :ivar refused: the answers by the numbers of the items that were refused, in order; the first item is 1
    :ivar sent: items sent, refused ones included
    """

    def __init__(self, connection: Connection, head: Callable[[int], bytes]) -> None:
        self._connection = connection
        self._head = head
        self._under_way: deque[tuple[int, bytes]] = deque()
        self._bytes_under_way = 0
        self._refused_items: deque[tuple[int, bytes]] = deque()
        self.refused: dict[int, bytes] = {}
        self.stored = 0
        self.bytes = 0
        self.sent = 0

    @property
    def unknown(self) -> list[int]:
        """The numbers of items that were sent and have no answer."""
        return sorted(number for number, _ in self._under_way)

    def put(self, items: Sequence[bytes]) -> None:
        """Send items, as far as nothing is refused.

        ``sent`` says how far; those behind the first refusal that was heard of are not sent.
        """
        at = 0
        while at < len(items) and not self.refused:
            parts: list[bytes] = []
            size = count = 0
            while at < len(items) and count < MOST_ITEMS // 4 and size < MOST_BYTES // 4:
                item = items[at]
                parts += (self._head(len(item)), item, b"\r\n")
                self.sent += 1
                self._under_way.append((self.sent, item))
                size += len(item)
                count += 1
                at += 1
            self._bytes_under_way += size
            self._connection.send(b"".join(parts))
            while self._under_way and (
                len(self._under_way) > MOST_ITEMS * 3 // 4 or self._bytes_under_way > MOST_BYTES * 3 // 4
            ):
                self._hear(min(len(self._under_way), MOST_ITEMS // 4))

    def settle(self) -> None:
        """Wait for all answers."""
        while self._under_way:
            self._hear(min(len(self._under_way), MOST_ITEMS))

    def retry_one(self) -> bool:
        """Send the first of the refused items once more; returns whether it is stored now."""
        number, item = self._refused_items[0]
        self._connection.send(b"%b%b\r\n" % (self._head(len(item)), item))
        self._under_way.append((number, item))
        self._bytes_under_way += len(item)
        self._refused_items.popleft()
        del self.refused[number]
        later = self._refused_items
        self._refused_items = deque()
        self._hear(1)
        self._refused_items += later
        self.refused = {refused: self.refused[refused] for refused in sorted(self.refused)}
        return number not in self.refused

    def _hear(self, count: int) -> None:
        """Read ``count`` answers."""
        if self._connection.take_if_next(_STORED * count):
            for _ in range(count):
                self._was_stored()
            return
        for _ in range(count):
            line = self._connection.line()
            if line == b"HD":
                self._was_stored()
            elif line == b"NS" or line.startswith((b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR")):
                number, item = self._under_way.popleft()
                self._bytes_under_way -= len(item)
                self.refused[number] = line
                self._refused_items.append((number, item))
            else:
                raise ConnectionLost(f"{self._connection.address} answers {line!r}, which is no answer to a put")

    def _was_stored(self) -> None:
        _, item = self._under_way.popleft()
        self._bytes_under_way -= len(item)
        self.stored += 1
        self.bytes += len(item)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers for people, as in ``3-5, 9``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
