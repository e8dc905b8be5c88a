"""The items that ``redqueue put`` is given, a piece at a time, so that no input is too long for memory."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence

from redqueue.cli.command import CommandFailed

CHUNK = 256 << 10
Piece = Sequence[bytes]
"""Items that are there at once."""


class TooLong(CommandFailed):
    """An item is longer than the server takes; nothing of it was sent."""


def from_arguments(items: Iterable[str], most: int) -> Iterator[Piece]:
    """The items of the command line."""
    for item in items:
        data = os.fsencode(item)
        if len(data) > most:
            raise TooLong(_too_long(most))
        yield [data]


class FileInput:
    """Items from a file or from standard input.

    :param path: of the file; None or ``-`` for standard input
    :param separator: what ends an item; empty where the whole input is one
    :param most: bytes of the longest item that the server takes
    :ivar size: of the input, bytes; 0 where that cannot be known
    :ivar done: bytes read so far
    :ivar is_typed: whether somebody types it at a terminal
    """

    def __init__(self, path: str | None, separator: bytes, most: int) -> None:
        self._file = sys.stdin.fileno() if path in (None, "-") else os.open(str(path), os.O_RDONLY)
        self._separator = separator
        self._most = most
        self.done = 0
        self.is_typed = os.isatty(self._file)
        status = os.fstat(self._file)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0

    def pieces(self) -> Iterator[Piece]:
        """The items, as many at a time as have come; nothing where the next ones are not there yet."""
        rest = bytearray()
        while chunk := os.read(self._file, CHUNK):
            self.done += len(chunk)
            if self._separator and self._separator in chunk:
                items = b"".join((rest, chunk)).split(self._separator)
                rest = bytearray(items.pop())
            else:
                rest += chunk
                items = []
            if any(len(item) > self._most for item in items):
                yield from self._up_to_the_longest(items)
            elif items:
                yield items
            if len(rest) > self._most:
                raise TooLong(_too_long(self._most))
            if not select.select([self._file], [], [], 0)[0]:
                yield []
        if rest or not self._separator:
            yield [bytes(rest)]

    def _up_to_the_longest(self, items: list[bytes]) -> Iterator[Piece]:
        first = next(i for i, item in enumerate(items) if len(item) > self._most)
        if first:
            yield items[:first]
        raise TooLong(_too_long(self._most))


def _too_long(most: int) -> str:
    return f"is longer than the {most} bytes that the server takes (--max_item_size)"
