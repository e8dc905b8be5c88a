"""Where in the journal each living item stands, in a few bytes an item.

Ids are given in ascending order and put into the journal in that order, so a
segment knows its items by an array: the offset of the item with the id
``first_id + i`` is at index ``i``, 0 where it is gone. An item that was written
again, because compaction copied it or a client changed it, is in
:class:`PositionMap`, which is sorted by id.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Final

MAX_GAP: Final = 1 << 16
"""Ids left out in a row for which an array has zeros; behind a greater gap items go into the map."""
_CHUNK: Final = 1024


class PositionMap:
    """A sorted map from ids to positions, both 64 bits, in chunks of two arrays."""

    __slots__ = ("_chunks", "_firsts", "_size")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._chunks: list[tuple[array[int], array[int]]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def get(self, item_id: int) -> int:
        """The position of an item; 0 where there is none."""
        at = bisect_right(self._firsts, item_id) - 1
        if at < 0:
            return 0
        ids, positions = self._chunks[at]
        i = bisect_left(ids, item_id)
        return positions[i] if i < len(ids) and ids[i] == item_id else 0

    def set(self, item_id: int, position: int) -> None:
        """Give an item a position, instead of any it has."""
        if not self._chunks:
            self._firsts.append(item_id)
            self._chunks.append((array("Q", (item_id,)), array("Q", (position,))))
            self._size = 1
            return
        at = max(0, bisect_right(self._firsts, item_id) - 1)
        ids, positions = self._chunks[at]
        i = bisect_left(ids, item_id)
        if i < len(ids) and ids[i] == item_id:
            positions[i] = position
            return
        ids.insert(i, item_id)
        positions.insert(i, position)
        self._size += 1
        self._firsts[at] = ids[0]
        if len(ids) > _CHUNK:
            # Mostly ids come in ascending order: then the full half stays as it is.
            half = _CHUNK if i == _CHUNK else _CHUNK // 2
            self._firsts.insert(at + 1, ids[half])
            self._chunks.insert(at + 1, (ids[half:], positions[half:]))
            del ids[half:], positions[half:]

    def pop(self, item_id: int) -> int:
        """Remove an item; returns its position, 0 where there was none."""
        at = bisect_right(self._firsts, item_id) - 1
        if at < 0:
            return 0
        ids, positions = self._chunks[at]
        i = bisect_left(ids, item_id)
        if i == len(ids) or ids[i] != item_id:
            return 0
        position = positions[i]
        del ids[i], positions[i]
        self._size -= 1
        if not ids:
            del self._firsts[at], self._chunks[at]
        elif i == 0:
            self._firsts[at] = ids[0]
        return position

    def drop_below(self, below: int) -> None:
        """Remove all items with lower ids."""
        at = bisect_left(self._firsts, below)
        first = self._chunks[at - 1 : at]  # may have some on both sides
        del self._firsts[:at], self._chunks[:at]
        for ids, positions in first:
            i = bisect_left(ids, below)
            if i < len(ids):
                self._firsts.insert(0, ids[i])
                self._chunks.insert(0, (ids[i:], positions[i:]))
        self._size = sum(len(ids) for ids, _ in self._chunks)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(id, position) of every item, in the order of ids."""
        for ids, positions in self._chunks:
            yield from zip(ids, positions, strict=True)

    def chunk_after(self, item_id: int) -> tuple[array[int], array[int]] | None:
        """Ids and positions of the chunk that has the first id above ``item_id``; None where no id is."""
        at = max(0, bisect_right(self._firsts, item_id) - 1)
        while at < len(self._chunks):
            if self._chunks[at][0][-1] > item_id:
                return self._chunks[at]
            at += 1
        return None


class SegmentEntry:
    """What is known of one segment.

    :ivar first_id: one more than the highest id of any PUT before it
    :ivar size: bytes of the file
    :ivar live: items whose record stands here
    :ivar offsets: where the items with the ids from ``first_id`` on stand; 0 for one that does not stand here
    """

    __slots__ = ("first_id", "live", "number", "offsets", "path", "size")

    def __init__(self, number: int, path: Path, first_id: int, size: int) -> None:
        self.number = number
        self.path = path
        self.first_id = first_id
        self.size = size
        self.live = 0
        self.offsets = array("I")

    def first_live(self, start: int, stop: int) -> Iterator[int]:
        """The indices, from ``start`` up to ``stop``, of the items that stand here."""
        return compress(range(start, stop), self.offsets[start:stop])


class Index:
    """All segments, oldest first, and the items in them.

    :ivar moved: the positions of items that do not stand where their ids say
    """

    def __init__(self) -> None:
        self.segments: list[SegmentEntry] = []
        self.moved = PositionMap()
        self._firsts: list[int] = []

    def add_segment(self, entry: SegmentEntry) -> None:
        """A new segment, the youngest of all."""
        self.segments.append(entry)
        self._firsts.append(entry.first_id)

    def remove_oldest(self) -> SegmentEntry:
        """Forget the oldest segment, in which nothing lives."""
        del self._firsts[0]
        return self.segments.pop(0)

    def native(self, item_id: int) -> SegmentEntry | None:
        """The segment in which the item with this id was first put; None where that is gone."""
        at = bisect_right(self._firsts, item_id) - 1
        return self.segments[at] if at >= 0 else None

    def by_number(self, number: int) -> SegmentEntry:
        """The segment with this number."""
        at = number - self.segments[0].number
        if at >= len(self.segments) or self.segments[at].number != number:  # salvage has gone on without some
            at = bisect_left(self.segments, number, key=attrgetter("number"))
        return self.segments[at]

    def position(self, item_id: int) -> int:
        """Where an item stands: segment number << 32 | offset; 0 where there is no such item."""
        if self.moved and (position := self.moved.get(item_id)):
            return position
        entry = self.native(item_id)
        if entry is None:
            return 0
        i = item_id - entry.first_id
        offset = entry.offsets[i] if i < len(entry.offsets) else 0
        return entry.number << 32 | offset if offset else 0

    def positions(self, ids: list[int]) -> list[int]:
        """:meth:`position` of each of ``ids``; fast where they ascend and none was moved."""
        if self.moved or sorted(ids) != ids:
            return [self.position(item_id) for item_id in ids]
        found: list[int] = []
        while len(found) < len(ids):
            at = len(found)
            entry = self.native(ids[at])
            stop = at if entry is None else bisect_left(ids, entry.first_id + len(entry.offsets), at)
            if entry is None or stop == at:
                found.append(0)
                continue
            base, first_id, offsets = entry.number << 32, entry.first_id, entry.offsets
            run = [offsets[item_id - first_id] for item_id in ids[at:stop]]
            found += [offset and base | offset for offset in run]
        return found

    def add(self, entry: SegmentEntry, item_id: int, offset: int) -> None:
        """A new item stands at ``offset`` of the youngest segment."""
        gap = item_id - entry.first_id - len(entry.offsets)
        if 0 <= gap <= MAX_GAP:
            if gap:
                entry.offsets.extend(bytes(gap))
            entry.offsets.append(offset)
        else:
            self.moved.set(item_id, entry.number << 32 | offset)
        entry.live += 1

    def move(self, item_id: int, entry: SegmentEntry, offset: int) -> None:
        """An item stands at ``offset`` of ``entry`` from now on."""
        self.bury(item_id)
        self.moved.set(item_id, entry.number << 32 | offset)
        entry.live += 1

    def bury(self, item_id: int) -> bool:
        """An item is no more; returns whether there was one."""
        if self.moved and (position := self.moved.pop(item_id)):
            self.by_number(position >> 32).live -= 1
            return True
        entry = self.native(item_id)
        if entry is None:
            return False
        i = item_id - entry.first_id
        if i >= len(entry.offsets) or not entry.offsets[i]:
            return False
        entry.offsets[i] = 0
        entry.live -= 1
        return True

    def clear_below(self, below: int) -> None:
        """All items with lower ids are no more."""
        for entry in self.segments:
            offsets = entry.offsets
            count = min(max(0, below - entry.first_id), len(offsets))
            rest = offsets[count:]
            offsets[:count] = array("I", bytes(offsets.itemsize * count))
            entry.live = len(rest) - rest.count(0)
        self.moved.drop_below(below)
        for _, position in self.moved:
            self.by_number(position >> 32).live += 1

    def count_live(self) -> None:
        """Count anew what lives in each segment."""
        for entry in self.segments:
            entry.live = len(entry.offsets) - entry.offsets.count(0)
        for _, position in self.moved:
            self.by_number(position >> 32).live += 1

    def highest_id(self) -> int:
        """The highest id of a living item; 0 where there is none."""
        highest = 0
        for item_id, _ in self.moved:
            highest = item_id
        for entry in reversed(self.segments):
            for i in reversed(range(len(entry.offsets))):
                if entry.offsets[i]:
                    return max(highest, entry.first_id + i)
        return highest
