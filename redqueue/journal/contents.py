"""What lives in a journal, by replaying it into columns: 28 bytes an item and no payload.

The columns are sorted by id, which is how items arrive. Items whose id is lower
than the last (a REWRITE of one whose first record is gone) wait in a dict until
there are enough of them to be worked in.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple

from redqueue.journal.framing import FRAME_SIZE, Frame
from redqueue.journal.parse import Ack, Drop, Fanout, Item, Name, Wipe, records
from redqueue.journal.record import REWRITE
from redqueue.journal.segment import position

_MANY = 1 << 16
_NS = 10**9
_MOST_SECONDS = 0xFFFFFFFF


class Live(NamedTuple):
    """An item that lives.

    :ivar position: where its record is (segment number << 32 | offset)
    :ivar length: bytes of that record; of a FANOUT, the item's share of them
    :ivar queue: the number of its queue
    :ivar expires: when its time to live passes, seconds rounded up; 0 for never
    """

    item_id: int
    position: int
    length: int
    queue: int
    expires: int


class Sum:
    """Records and their bytes."""

    __slots__ = ("bytes", "records")

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0

    def add(self, length: int) -> None:
        """Count one record."""
        self.records += 1
        self.bytes += length


class Contents:
    """The items that live after the frames applied so far.

    :ivar names: the name of each queue number that was named
    :ivar last_id: the highest id of any PUT or FANOUT
    :ivar written: what was ever written of items, by queue number
    :ivar written_in: the same, by segment
    :ivar places: the place of each item that has one other than its id
    :ivar acked_unseen: ids of ACKs whose item was not there, as happens where its PUT is lost;
        those of items older than the journal's oldest segment are left out

    :param first_id: the lowest id that a PUT in the journal may have
    """

    def __init__(self, first_id: int = 0) -> None:
        self.names: dict[int, bytes] = {}
        self.last_id = max(0, first_id - 1)
        self._first_id = first_id
        self.written: dict[int, Sum] = {}
        self.written_in: dict[int, Sum] = {}
        self.places: dict[int, int] = {}
        self.acked_unseen = array("Q")
        self._ids = array("Q")
        self._positions = array("Q")  # 0: gone
        self._lengths = array("I")
        self._queues = array("I")  # index into _numbers
        self._expiries = array("I")
        self._late: dict[int, tuple[int, int, int, int]] = {}
        self._gone = 0
        self._numbers: list[int] = []
        self._index_of: dict[int, int] = {}
        self._drops: dict[int, _Floor] = {}
        self._wipes = _Floor()
        self._here = Sum()

    # -- replay --------------------------------------------------------------

    def apply(self, segment: int, frame: Frame) -> None:
        """Replay a frame.

        :raises redqueue.journal.parse.SenselessRecord: at a record that does not
            parse; those before it have been applied
        """
        base = position(segment, frame.offset + FRAME_SIZE)
        self._here = self.written_in.setdefault(segment, Sum())
        for record in records(frame.payload):
            if isinstance(record, Item):
                self._put(record, base + record.at)
            elif isinstance(record, Ack):
                self._acknowledge(record.item_id)
            elif isinstance(record, Fanout):
                for item in record.items():
                    self._put(item, base + record.at)
            elif isinstance(record, Name):
                self.names[record.queue] = record.name
            elif isinstance(record, Drop):
                self._drops.setdefault(record.queue, _Floor()).add(base + record.at, record.below)
            elif isinstance(record, Wipe):
                self._wipes.add(base + record.at, record.below)

    def _put(self, item: Item, at: int) -> None:
        item_id = item.item_id
        index = self._index_of.get(item.queue)
        if index is None:
            index = self._index_of[item.queue] = len(self._numbers)
            self._numbers.append(item.queue)
            self.written[item.queue] = Sum()
        length = item.length
        self.written[item.queue].add(length)
        self._here.add(length)
        expires = min(-(-item.expires // _NS), _MOST_SECONDS) if item.expires else 0
        if item.kind != REWRITE:
            self.last_id = max(self.last_id, item_id)
        if item.place != item_id:
            self.places[item_id] = item.place
        elif self.places:
            self.places.pop(item_id, None)
        ids = self._ids
        if not ids or item_id > ids[-1]:
            ids.append(item_id)
            self._positions.append(at)
            self._lengths.append(length)
            self._queues.append(index)
            self._expiries.append(expires)
            return
        i = self._find(item_id)
        if i < 0:
            self._late[item_id] = (at, length, index, expires)
            if len(self._late) > max(_MANY, len(ids) >> 4):
                self._tidy()
            return
        self._gone -= not self._positions[i]
        self._positions[i] = at
        self._lengths[i] = length
        self._queues[i] = index
        self._expiries[i] = expires

    def _acknowledge(self, item_id: int) -> None:
        if self.places:
            self.places.pop(item_id, None)
        i = self._find(item_id)
        if i >= 0 and self._positions[i]:
            self._positions[i] = 0
            self._gone += 1
            if self._gone > max(_MANY, len(self._ids) >> 1):
                self._tidy()
        elif i < 0 and self._late.pop(item_id, None) is None and item_id >= self._first_id:
            self.acked_unseen.append(item_id)

    def _find(self, item_id: int) -> int:
        ids = self._ids
        i = bisect_left(ids, item_id)
        return i if i < len(ids) and ids[i] == item_id else -1

    # -- what is there ---------------------------------------------------------

    def queue_of(self, item_id: int) -> int | None:
        """The number of an item's queue; None where the item is not there."""
        i = self._find(item_id)
        if i >= 0:
            return self._numbers[self._queues[i]]
        late = self._late.get(item_id)
        return None if late is None else self._numbers[late[2]]

    def live(self) -> Iterator[Live]:
        """The items that live, in the order of their ids. Apply nothing meanwhile."""
        self._tidy()
        for item_id, at, length, index, expires in zip(
            self._ids, self._positions, self._lengths, self._queues, self._expiries, strict=True
        ):
            yield Live(item_id, at, length, self._numbers[index], expires)

    def ids_between(self, low: int, high: int) -> array[int]:
        """The ids above ``low`` and, unless 0, below ``high`` of items that are there, or were until a little ago."""
        ids = self._ids
        return ids[bisect_right(ids, low) : bisect_left(ids, high) if high else len(ids)]

    def numbers_of(self, name: bytes) -> set[int]:
        """The numbers that have stood for a queue: each run of the server has its own."""
        return {number for number in (*self.names, *self.written) if self.name_of(number) == name}

    def name_of(self, number: int) -> bytes:
        """The name of a queue; where it is lost, the one that the server would give it."""
        return self.names.get(number) or b"lost-name-%d" % number

    # -- the columns ------------------------------------------------------------

    def _tidy(self) -> None:
        """Work the late ones in, and remove what is gone."""
        if self._late:
            self._merge()
        floors = self._floors()
        if floors or self._wipes.entries:
            for i, (at, item_id, index) in enumerate(zip(self._positions, self._ids, self._queues, strict=True)):
                if at and max(self._wipes.after(at), floors[index].after(at) if index in floors else 0) > item_id:
                    self._positions[i] = 0
        kept = bytes(map(bool, self._positions))
        for column in (self._ids, self._lengths, self._queues, self._expiries):
            column[:] = array(column.typecode, compress(column, kept))
        self._positions[:] = array("Q", compress(self._positions, kept))
        self._gone = 0

    def _floors(self) -> dict[int, _Floor]:
        """The drops by the index of the queue; a drop counts for all numbers of its name."""
        by_name: dict[bytes, _Floor] = {}
        floors: dict[int, _Floor] = {}
        for number, floor in self._drops.items():
            name = self.names.get(number)
            if name is None:
                if number in self._index_of:
                    floors[self._index_of[number]] = floor
                continue
            by_name[name] = by_name[name].merged(floor) if name in by_name else floor
        if by_name:
            for number, index in self._index_of.items():
                name = self.names.get(number)
                if name in by_name:
                    floors[index] = by_name[name]
        return floors

    def _merge(self) -> None:
        late = sorted(self._late)
        cuts = [bisect_left(self._ids, item_id) for item_id in late]
        rows = [(item_id, *self._late[item_id]) for item_id in late]
        self._late.clear()
        for k, name in enumerate(("_ids", "_positions", "_lengths", "_queues", "_expiries")):
            old: array[int] = getattr(self, name)
            new = array(old.typecode)
            done = 0
            for cut, row in zip(cuts, rows, strict=True):
                new += old[done:cut]
                new.append(row[k])
                done = cut
            new += old[done:]
            setattr(self, name, new)


class _Floor:
    """DROPs of a queue, or WIPEs: an item that was there before one of them, with an id under its own, is gone.

    :ivar entries: (position, id), positions ascending and ids descending
    """

    __slots__ = ("entries",)

    def __init__(self, entries: list[tuple[int, int]] | None = None) -> None:
        self.entries: list[tuple[int, int]] = entries or []

    def add(self, at: int, below: int) -> None:
        """Count one more, which is behind all others."""
        while self.entries and self.entries[-1][1] <= below:
            self.entries.pop()
        self.entries.append((at, below))

    def after(self, at: int) -> int:
        """The id under which an item whose record is at ``at`` is gone; 0 where it is not."""
        i = bisect_right(self.entries, (at, 1 << 64))
        return self.entries[i][1] if i < len(self.entries) else 0

    def merged(self, other: _Floor) -> _Floor:
        """Both."""
        both = _Floor()
        for at, below in sorted(self.entries + other.entries):
            both.add(at, below)
        return both
