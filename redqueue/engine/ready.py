"""The ready items of a queue, in the order in which they will be delivered.

The first of them are in memory, as their records. What is too much for memory
is a tail of ids, whose records are read back from the journal as the head comes
near. Items that do not stand in the order of their arrival, because they were
given back or put before others, are in a heap, with or without their records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, merge
from itertools import chain, islice

from redqueue.engine.backlog import Backlog
from redqueue.journal import record as rec

_NEAR_TOP = 31
"""Entries at the beginning of a heap that are looked through for the next ones: its first five levels."""

_from_bytes = int.from_bytes


class Ready:
    """Items by place: mostly a FIFO, with a heap for those that are not behind all others.

    :ivar arrived: records in the order of their arrival, which is that of their places
    :ivar backlog: the ids of the items that arrived behind all those
    :ivar returned: a heap of (place, record or id, deliveries so far)
    :ivar warm: records that have been read back of items whose ids are in ``returned``
    """

    __slots__ = ("_front", "_next_eviction", "arrived", "backlog", "returned", "warm")

    def __init__(self) -> None:
        self.arrived: deque[bytes] = deque()
        self.backlog = Backlog()
        self.returned: list[tuple[int, bytes | int, int]] = []
        self.warm: dict[int, bytes] = {}
        self._front = 0
        self._next_eviction = 0

    def __len__(self) -> int:
        return len(self.arrived) + len(self.backlog) + len(self.returned)

    def front_place(self) -> int:
        """A place before every item that is, or ever was, in the queue."""
        self._front -= 1
        return self._front

    def know_place(self, place: int) -> None:
        """An item that is elsewhere for now has this place: no place at the front may be behind it."""
        self._front = min(self._front, place)

    def insert(self, record: bytes, deliveries: int) -> None:
        """Put an item at its own place."""
        heappush(self.returned, (rec.place(record), record, deliveries))

    def insert_cold(self, item_id: int, place: int, deliveries: int) -> None:
        """Put an item that is not in memory at its place."""
        self.know_place(place)
        heappush(self.returned, (place, item_id, deliveries))

    # -- the next one -------------------------------------------------------

    def first(self) -> bytes | None:
        """The record of the next item; None where there is none, or it is not in memory."""
        arrived, returned = self.arrived, self.returned
        if not returned:
            return arrived[0] if arrived else None
        place, record, _ = returned[0]
        if arrived:
            if rec.place(arrived[0]) < place:
                return arrived[0]
        elif self.backlog and self.backlog[0] < place:
            return None
        return self.warm.get(record) if isinstance(record, int) else record

    def take_first(self) -> tuple[bytes, int]:
        """Remove the next item, which must be in memory; returns its record and its deliveries so far."""
        record = self.first()
        assert record is not None
        if self.returned:
            _, entry, deliveries = self.returned[0]
            if self._is_of(entry, record):
                heappop(self.returned)
                if isinstance(entry, int):
                    del self.warm[entry]
                return record, deliveries
        return self.arrived.popleft(), 0

    def remove(self, item_id: int) -> tuple[int, bytes | int, int] | None:
        """Remove an item, wherever it stands; None where it is not there.

        :returns: its place, its record, or its id where that is not in memory, and its deliveries so far
        """
        returned, arrived = self.returned, self.arrived
        for i, (place, entry, deliveries) in enumerate(returned):
            if (entry if isinstance(entry, int) else rec.item_id(entry)) == item_id:
                last = returned.pop()
                if i < len(returned):
                    returned[i] = last
                    heapify(returned)
                return place, self.warm.pop(entry, entry) if isinstance(entry, int) else entry, deliveries
        for i, record in enumerate(arrived):
            if rec.item_id(record) == item_id:
                del arrived[i]
                return rec.place(record), record, 0
        return (item_id, item_id, 0) if self.backlog.remove(item_id) else None

    def substitute(self, old: bytes, new: bytes) -> bool:
        """Give the item of record ``old``, which was first not long ago, the record ``new``; False if it has gone."""
        if self.arrived and self.arrived[0] is old:
            self.arrived[0] = new
            return True
        for i, (place, record, deliveries) in enumerate(self.returned):
            if self._is_of(record, old):
                if isinstance(record, int):
                    del self.warm[record]
                self.returned[i] = (place, new, deliveries)
                return True
        return False

    def deliveries(self, record: bytes) -> int:
        """How often the item of ``record``, which is in memory, was delivered before."""
        for _, entry, deliveries in self.returned:
            if self._is_of(entry, record):
                return deliveries
        return 0

    def _is_of(self, entry: bytes | int, record: bytes) -> bool:
        """Whether what stands in ``returned`` is the item of ``record``, itself or by its id."""
        return entry is record or (isinstance(entry, int) and self.warm.get(entry) is record)

    # -- in memory or not ---------------------------------------------------

    def missing(self, most: int) -> tuple[list[int], bool]:
        """The ids of the next items that are not in memory, and whether they are of the backlog.

        :param most: no more than so many
        """
        top = self.returned[0] if self.returned else None
        if top is not None and not (
            (self.arrived and rec.place(self.arrived[0]) < top[0]) or (self.backlog and self.backlog[0] < top[0])
        ):
            near = sorted(self.returned[:_NEAR_TOP])
            ids = [entry[1] for entry in near if isinstance(entry[1], int) and entry[1] not in self.warm]
            if ids and top[1] == ids[0]:
                return ids[:most], False
        return self.backlog.first(most), True

    def take_in(self, ids: list[int], records: list[bytes], of_backlog: bool) -> None:
        """The records of what was :meth:`missing` are here; nothing else has been evicted meanwhile."""
        if of_backlog:
            self.backlog.drop_first(len(ids))
            self.arrived.extend(records)
        else:
            self.warm.update(zip(ids, records, strict=True))

    def evict(self, keep: int, most: int) -> list[bytes]:
        """Put items out of memory, the last ones first.

        :param keep: so many of the first ones stay
        :param most: no more than so many are put out
        :returns: their records
        """
        count = min(len(self.arrived) - keep, most)
        if count > 0:
            pop = self.arrived.pop
            records = [pop() for _ in range(count)]
            self.backlog.prepend(_from_bytes(record[8:16], "big") for record in reversed(records))
            return records
        return self._evict_returned(max(keep, _NEAR_TOP), most)

    def _evict_returned(self, keep: int, most: int) -> list[bytes]:
        """:meth:`evict` for the heap, in which no more than ``most`` entries are looked at."""
        returned, records = self.returned, list[bytes]()
        start = self._next_eviction if keep <= self._next_eviction < len(returned) else keep
        self._next_eviction = start + most
        for i in range(start, min(start + most, len(returned))):
            place, record, deliveries = returned[i]
            if not isinstance(record, int):
                returned[i] = (place, rec.item_id(record), deliveries)
                records.append(record)
        return records

    # -- all of them ----------------------------------------------------------

    def peek(self, index: int) -> bytes | int | None:
        """The record of the ``index``-th item, from 0, or its id where it is not in memory; None for none."""
        if self.returned:
            return next(islice(self, index, None), None)
        if index < len(self.arrived):
            return self.arrived[index]
        index -= len(self.arrived)
        return self.backlog[index] if index < len(self.backlog) else None

    def __iter__(self) -> Iterator[bytes | int]:
        """The records, next one first, or the ids of those that are not in memory."""
        if not self.returned:
            return chain(self.arrived, self.backlog)
        arrived: Iterator[tuple[int, bytes | int]] = ((rec.place(record), record) for record in self.arrived)
        fifo = chain(arrived, ((item_id, item_id) for item_id in self.backlog))
        return (entry[1] for entry in merge(self._returned_in_order(), fifo))

    def _returned_in_order(self) -> Iterator[tuple[int, bytes | int]]:
        for place, entry, _ in sorted(self.returned):
            yield place, self.warm.get(entry, entry) if isinstance(entry, int) else entry

    def drop_below(self, below: int) -> Iterator[int]:
        """Remove the items whose ids are below ``below``, all but the last few; returns their ids.

        The ids are to be taken in pieces: with each of them its record is let go.
        """
        arrived, self.arrived = self.arrived, deque()
        while arrived and _from_bytes(arrived[-1][8:16], "big") >= below:
            self.arrived.appendleft(arrived.pop())
        backlog, self.backlog = self.backlog, Backlog()
        returned, self.returned = self.returned, []
        gone: list[tuple[int, bytes | int, int]] = []
        for entry in returned:
            item_id = entry[1] if isinstance(entry[1], int) else rec.item_id(entry[1])
            (gone if item_id < below else self.returned).append(entry)
        heapify(self.returned)
        self.warm.clear()

        def ids() -> Iterator[int]:
            while arrived:
                yield _from_bytes(arrived.popleft()[8:16], "big")
            yield from backlog
            while gone:
                entry = gone.pop()[1]
                yield entry if isinstance(entry, int) else rec.item_id(entry)

        return ids()
