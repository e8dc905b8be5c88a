"""Who gets a copy of what: the children that exist, kept in the journal.

A subscription is an item of a queue that no client can name, with the child's
name for a payload. So replay, segments and compaction treat it as any item.
"""

from __future__ import annotations

from collections.abc import Iterator

from redqueue.engine.ledger import Ledger
from redqueue.engine.topics import Topics, is_child, parts, words
from redqueue.journal import record as rec

QUEUE = b"\x00subscriptions"
"""The queue of the subscriptions; keys have no control characters."""


class Subscriptions:
    """The children that exist.

    :param ledger: takes what changes
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._topics = Topics()
        self._records: dict[bytes, bytes] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, child: bytes) -> bool:
        return child in self._records

    def children_of(self, name: bytes) -> tuple[bytes, ...]:
        """The children that get a copy of what is put on the queue ``name``, in the order of their names."""
        if not self._records or is_child(name):
            return ()
        return tuple(sorted(self._topics.match(words(name))))

    def restore(self, records: list[bytes]) -> None:
        """Take what the journal has kept."""
        for record in records:
            self._add(rec.payload(record), record)

    def add(self, child: bytes) -> None:
        """The child exists from here on.

        :raises StorageFailed: when the journal has failed
        """
        ledger = self._ledger
        ledger.check_storage()
        if not self._number:
            self._number = ledger.journal.open_queue(QUEUE)
        ledger.last_id += 1
        record = rec.put(self._number, ledger.last_id, ledger.clock.wall, 0, child)
        ledger.journal_put(record)
        self._add(child, record)

    def discard(self, child: bytes) -> None:
        """A subscription that the journal could not take is none."""
        if self._records.pop(child, None) is not None:
            self._topics.remove(words(parts(child)[0]), child)

    def remove(self, child: bytes) -> bytes:
        """The child gets nothing from here on; returns what :meth:`put_back` takes should the journal fail."""
        record = self._records[child]
        self._ledger.journal_ack(record)
        self.discard(child)
        return record

    def put_back(self, child: bytes, record: bytes) -> None:
        """A removal that the journal could not take has not happened."""
        if child not in self._records:
            self._add(child, record)

    def rewritten(self) -> Iterator[bytes]:
        """REWRITE records of all subscriptions, for the journal behind a WIPE."""
        if self._records and not self._number:
            self._number = self._ledger.journal.open_queue(QUEUE)
        for record in self._records.values():
            yield rec.moved(record, self._number, place=None)

    def _add(self, child: bytes, record: bytes) -> None:
        if child in self._records:
            return  # two of one name cannot come about, and would do no harm
        self._records[child] = record
        self._topics.add(words(parts(child)[0]), child)
