"""What the engine asks of a journal, and the journal that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

Fetched = Callable[[list[bytes] | None, BaseException | None], None]


class Journal(Protocol):
    """Where the engine writes what must outlive the process.

    Whoever owns both takes the records appended since the last time, writes
    them as one atomic frame, and then tells the broker to commit or roll back.

    :ivar live_items: how many items are in it
    :ivar live_bytes: bytes of their records
    """

    put: Callable[[bytes], None]
    """Add a PUT record (:mod:`redqueue.journal.record`) to the open frame."""
    acknowledge: Callable[[bytes], None]
    """Add the ACK of the item with this record to the open frame. It is written even where the disk has no
    room for the puts of the frame."""
    append: Callable[[bytes], None]
    """Add a DROP or WIPE record to the open frame."""
    live_items: int
    live_bytes: int

    def rewrite(self, new: bytes, old: bytes) -> None:
        """Add the REWRITE record ``new`` of an item whose record was ``old`` to the open frame."""

    def acknowledge_with_put(self, record: bytes) -> None:
        """Acknowledge the item with this record only if the puts of the same frame can be written, too."""

    def put_together(self, records: Sequence[bytes]) -> None:
        """Add PUT records with ids in a row, which differ in id and queue only, with one copy of the payload."""

    def open_queue(self, name: bytes) -> int:
        """A number, under 2**48, that stands for the queue ``name`` in records."""

    def pin_queue(self, name: bytes) -> int:
        """A number for a queue that stays, whether the queue is open or not."""

    def close_queue(self, number: int) -> None:
        """The queue holds nothing; no record will use its number any more, unless it is pinned."""

    def bury(self, ids: Iterator[int], items: int, stored: int) -> None:
        """Items are dead by a committed DROP or WIPE, without an ACK of their own.

        :param ids: of them; taken in the next turns
        :param items: how many they are
        :param stored: bytes of their records
        """

    def read(self, ids: list[int], done: Fetched) -> None:
        """Have the records of living items read back.

        :param done: called later with the records, in the order of ``ids``, or with None and the exception
        """


def _ignore(record: bytes) -> None:
    """Keeps nothing."""


class NullJournal:
    """Keeps nothing: ``reliable=no``."""

    def __init__(self) -> None:
        self.put: Callable[[bytes], None] = _ignore
        self.acknowledge: Callable[[bytes], None] = _ignore
        self.append: Callable[[bytes], None] = _ignore
        self.live_items = 0
        self.live_bytes = 0
        self._last = 0

    def rewrite(self, new: bytes, old: bytes) -> None:
        """Nothing to do."""

    def acknowledge_with_put(self, record: bytes) -> None:
        """Nothing to do."""

    def put_together(self, records: Sequence[bytes]) -> None:
        """Nothing to do."""

    def open_queue(self, name: bytes) -> int:
        """A number."""
        self._last += 1
        return self._last

    def pin_queue(self, name: bytes) -> int:
        """A number."""
        return self.open_queue(name)

    def close_queue(self, number: int) -> None:
        """Nothing to do."""

    def bury(self, ids: Iterator[int], items: int, stored: int) -> None:
        """Nothing to do."""

    def read(self, ids: list[int], done: Fetched) -> None:
        """Never called: it holds nothing that the engine does not hold."""
        raise NotImplementedError
