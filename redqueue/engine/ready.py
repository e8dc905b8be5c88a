"""The ready items of a queue, in the order in which they will be delivered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, merge

from redqueue.journal import record as rec
from redqueue.journal.record import ID_FIELD


class Ready:
    """Items by place: mostly a FIFO, with a heap for those that are not behind all others.

    :ivar arrived: records in the order of their arrival, which is that of their places
    :ivar returned: a heap of (place, record, deliveries so far), for items that
        are ready again and for those that were put before others
    """

    __slots__ = ("_front", "arrived", "returned")

    def __init__(self) -> None:
        self.arrived: deque[bytes] = deque()
        self.returned: list[tuple[int, bytes, int]] = []
        self._front = 0

    def __len__(self) -> int:
        return len(self.arrived) + len(self.returned)

    def __iter__(self) -> Iterator[bytes]:
        """The records, next one first."""
        if not self.returned:
            return iter(self.arrived)
        ahead = sorted(self.returned)
        return (entry[1] for entry in merge(ahead, ((rec.place(r), r, 0) for r in self.arrived)))

    def front_place(self) -> int:
        """A place before every item that is, or ever was, in the queue."""
        self._front -= 1
        return self._front

    def know_place(self, place: int) -> None:
        """An item that is elsewhere for now has this place: no place at the front may be behind it."""
        self._front = min(self._front, place)

    def restore(self, record: bytes) -> None:
        """Take an item from the journal; they come in the order of their places."""
        place = rec.place(record)
        if place < 0:
            self._front = min(self._front, place)
            self.insert(record, 0)
        else:
            self.arrived.append(record)

    def insert(self, record: bytes, deliveries: int) -> None:
        """Put an item at its own place."""
        heappush(self.returned, (rec.place(record), record, deliveries))

    def first(self) -> bytes | None:
        """The record of the next item, or None."""
        arrived, returned = self.arrived, self.returned
        if not returned:
            return arrived[0] if arrived else None
        if arrived and rec.place(arrived[0]) < returned[0][0]:
            return arrived[0]
        return returned[0][1]

    def take_first(self) -> tuple[bytes, int]:
        """Remove the next item, of which there must be one; returns its record and its deliveries so far."""
        record = self.first()
        if self.returned and self.returned[0][1] is record:
            _, record, deliveries = heappop(self.returned)
            return record, deliveries
        return self.arrived.popleft(), 0

    def substitute(self, old: bytes, new: bytes) -> bool:
        """Give the item of record ``old``, which was first not long ago, the record ``new``; False if it has gone."""
        if self.arrived and self.arrived[0] is old:
            self.arrived[0] = new
            return True
        for i, (place, record, deliveries) in enumerate(self.returned):
            if record is old:
                self.returned[i] = (place, new, deliveries)
                return True
        return False

    def drop_below(self, bar: bytes) -> list[bytes]:
        """Remove the items whose id bytes are below ``bar``; returns their records."""
        if self.arrived and self.arrived[-1][ID_FIELD] < bar:
            dropped = list(self.arrived)
            self.arrived.clear()
        else:
            dropped = [record for record in self.arrived if record[ID_FIELD] < bar]
            kept = [record for record in self.arrived if record[ID_FIELD] >= bar]
            self.arrived.clear()
            self.arrived.extend(kept)
        dropped += [record for _, record, _ in self.returned if record[ID_FIELD] < bar]
        self.returned[:] = [entry for entry in self.returned if entry[1][ID_FIELD] >= bar]
        heapify(self.returned)
        return dropped
