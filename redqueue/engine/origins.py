"""Where dead letters came from."""

from __future__ import annotations

from collections.abc import Mapping

from redqueue.engine.journal import Journal
from redqueue.journal import record as rec
from redqueue.journal.record import HAS_ORIGIN


class Origins:
    """The queues that dead letters came from, by the numbers in their records.

    These numbers are pinned, so that a letter may be written again at any time.

    :param journal: gives the numbers
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[int, bytes] = {}
        self._numbers: dict[bytes, int] = {}

    def restore(self, names: Mapping[bytes, bytes]) -> None:
        """Take the names that the numbers (6 bytes) of former runs stood for."""
        self._names.update((int.from_bytes(number, "big"), name) for number, name in names.items())

    def number_of(self, name: bytes) -> int:
        """A number that the journal knows to stand for the queue ``name``."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = self._journal.pin_queue(name)
            self._names[number] = name
        return number

    def name_of(self, record: bytes) -> bytes | None:
        """The queue that the item of a record came from; None where it is no dead letter."""
        return self._names.get(rec.origin(record)) if record[1] & HAS_ORIGIN else None

    def current(self, record: bytes) -> int:
        """What is to be written as the origin of a record's item, which may be of a former run; 0 for none."""
        name = self.name_of(record)
        return 0 if name is None else self.number_of(name)
