"""A list of a running Redis, as a queue (RESP 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redqueue.importers.item import SourceFailed, SourceItem
from redqueue.importers.stream import Stream

FIRST_ITEMS = 10
MOST_ITEMS = 200
MOST_BYTES = 8 << 20
"""Elements read at a time, at first and at most, and about how many bytes."""


class RedisError(SourceFailed):
    """Redis has answered with an error."""


class RedisList:
    """Elements from the end at which workers take them.

    :param user: empty for none
    :param password: empty for none
    :param from_left: whether workers pop at the left
    :param copies: leave all there
    """

    def __init__(
        self,
        stream: Stream,
        database: int,
        key: bytes,
        *,
        user: bytes = b"",
        password: bytes = b"",
        from_left: bool = False,
        copies: bool = False,
    ) -> None:
        self._stream = stream
        self._key = key
        self._from_left = from_left
        self._copies = copies
        self._offset = 0
        self._longest = 1
        self._at_once = FIRST_ITEMS
        if password:
            self._ask(b"AUTH", *([user] if user else []), password)
        if database:
            self._ask(b"SELECT", b"%d" % database)
        kind = self._ask(b"TYPE", key)
        if kind not in (b"list", b"none"):
            raise SourceFailed(f"{key!r} is a {kind.decode()} there, and no list")

    @staticmethod
    def _command(*words: bytes) -> bytes:
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    def _ask(self, *words: bytes) -> Any:
        self._stream.send(self._command(*words))
        return self._reply()

    def _reply(self) -> Any:
        line = self._stream.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(f"{self._stream.place} says: {rest.decode('utf-8', 'replace')}")
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._stream.payload(int(rest))
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        raise SourceFailed(f"{self._stream.place} is no Redis: it answers {line[:60]!r}")

    def count(self) -> int:
        """How many elements there are."""
        return int(self._ask(b"LLEN", self._key))

    def batch(self) -> Sequence[SourceItem]:
        """The next elements."""
        wanted = max(1, min(self._at_once, MOST_BYTES // self._longest))
        self._at_once = MOST_ITEMS
        first, last = self._offset, self._offset + wanted - 1
        if self._from_left:
            values = self._ask(b"LRANGE", self._key, b"%d" % first, b"%d" % last)
        else:
            values = self._ask(b"LRANGE", self._key, b"%d" % (-1 - last), b"%d" % (-1 - first))[::-1]
        if self._copies:
            self._offset += len(values)
        self._longest = max([self._longest, *map(len, values)])
        return [SourceItem(value, handle=value) for value in values]

    def remove(self, items: Sequence[SourceItem]) -> int:
        """Remove an element equal to each, the nearest to the end at which workers take them."""
        count = b"1" if self._from_left else b"-1"
        for item in items:
            self._stream.send(self._command(b"LREM", self._key, count, item.handle))
        return sum(int(self._reply()) for _ in items)

    def findings(self) -> list[str]:
        """Nothing is left out."""
        return []

    def close(self) -> None:
        """Leave."""
        self._stream.close()
