"""What the engine asks of a journal, and the journal that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol


class Journal(Protocol):
    """Where the engine writes what must outlive the process.

    Whoever owns both takes the records appended since the last time, writes
    them as one atomic frame, and then tells the broker to commit or roll back.
    """

    put: Callable[[bytes], None]
    """Add a PUT record (:mod:`redqueue.journal.record`) to the open frame."""
    acknowledge: Callable[[bytes], None]
    """Add an ACK record of the item with these 8 id bytes to the open frame."""
    append: Callable[[bytes], None]
    """Add any other record to the open frame."""

    def open_queue(self, name: bytes) -> int:
        """A number never given before, under 2**48, that stands for the queue ``name`` in records."""

    def close_queue(self, number: int) -> None:
        """The queue holds nothing; no record will use its number any more."""

    def bury(self, records: Iterable[bytes]) -> None:
        """These PUT records are dead by a committed DROP or WIPE, without an ACK of their own."""


def _ignore(record: bytes) -> None:
    """Keeps nothing."""


class NullJournal:
    """Keeps nothing: ``reliable=no``."""

    def __init__(self) -> None:
        self.put: Callable[[bytes], None] = _ignore
        self.acknowledge: Callable[[bytes], None] = _ignore
        self.append: Callable[[bytes], None] = _ignore
        self._last = 0

    def open_queue(self, name: bytes) -> int:
        """A number."""
        self._last += 1
        return self._last

    def close_queue(self, number: int) -> None:
        """Nothing to do."""

    def bury(self, records: Iterable[bytes]) -> None:
        """Nothing to do."""
