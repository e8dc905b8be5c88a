"""Which queue each living item belongs to, found by reading the heads of their records."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable
from struct import Struct

from redqueue.journal import record as rec
from redqueue.journal.index import Index, SegmentEntry
from redqueue.journal.record import FANOUT, HAS_EXPIRY, HAS_ORIGIN, PUT_SIZE

_HEAD_FIELDS = Struct(">BB6s20xI")
STEP = 8 << 20
"""Bytes of a segment after which the pages read are given back."""


class RecoveredQueue:
    """What a queue holds.

    :param number: the one it has in the journal, six bytes

    :ivar ids: of its plain items, which may have an expiry but nothing else, in their order
    :ivar heads: the records, without their payloads, of the others, in the order of their ids
    :ivar bytes: of payload in all
    :ivar mortal: how many of all have an expiry
    :ivar fields: bytes of attribute fields of the plain items
    """

    __slots__ = ("bytes", "fields", "heads", "ids", "mortal", "number")

    def __init__(self, number: bytes = b"") -> None:
        self.number = number
        self.ids = array("Q")
        self.heads: list[bytes] = []
        self.bytes = 0
        self.mortal = 0
        self.fields = 0

    def __len__(self) -> int:
        return len(self.ids) + len(self.heads)

    @property
    def all_fields(self) -> int:
        """Bytes of attribute fields of all its items."""
        return self.fields + sum(map(len, self.heads)) - PUT_SIZE * len(self.heads)

    @property
    def stored(self) -> int:
        """Bytes of the records of all its items."""
        return self.bytes + PUT_SIZE * len(self) + self.all_fields

    def absorb(self, other: RecoveredQueue) -> None:
        """Take the items of ``other`` in, which has the same name under another number."""
        in_order = not self.ids or not other.ids or self.ids[-1] < other.ids[0]
        self.ids += other.ids
        if not in_order:
            self.ids = array("Q", sorted(self.ids))
        self.heads = sorted(self.heads + other.heads, key=rec.item_id)
        self.bytes += other.bytes
        self.mortal += other.mortal
        self.fields += other.fields


class Census:
    """Tells the living items of an index apart by queue, reading the head of each.

    :param names: of all queue numbers
    :param is_dead: whether an item (id, position, queue, head) is dead although no ACK says so
    :param suspicious: whether that has to be asked of items without attributes, too

    :ivar names: of the numbers that living items have or came from, a made-up one where the name is lost
    :ivar origins: the numbers of the queues that dead letters came from
    """

    def __init__(
        self,
        index: Index,
        names: dict[bytes, bytes],
        is_dead: Callable[[int, int, bytes, bytes], bool],
        suspicious: bool,
    ) -> None:
        self._index = index
        self._all_names = names
        self._is_dead = is_dead
        self._suspicious = suspicious
        self._groups: dict[bytes, RecoveredQueue] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self.names: dict[bytes, bytes] = {}
        self.origins: set[bytes] = set()

    def take(self, progress: Callable[[], None]) -> dict[bytes, RecoveredQueue]:
        """The queues by name; what is dead is taken out of the index, and the living are counted there.

        :param progress: called after every segment
        """
        try:
            dead = self._count_moved()
            moved, self._groups = self._groups, {}
            for item_id in dead:
                self._index.moved.pop(item_id)
            for entry in self._index.segments:
                self._count_native(entry)
                progress()
        finally:
            for content in self._maps.values():
                content.close()
        self._index.count_live()
        queues: dict[bytes, RecoveredQueue] = {}
        for groups in (moved, self._groups):
            for number, group in groups.items():
                if len(group):
                    name = self._name_of(number)
                    self.names[number] = name
                    queues.setdefault(name, RecoveredQueue(number)).absorb(group)
        return queues

    def _name_of(self, number: bytes) -> bytes:
        return self._all_names.get(number) or b"lost-name-%d" % int.from_bytes(number, "big")

    def _content(self, entry: SegmentEntry) -> mmap.mmap:
        content = self._maps.get(entry.number)
        if content is None:
            with entry.path.open("rb") as file:
                content = self._maps[entry.number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return content

    def _count_moved(self) -> list[int]:
        """Sort the items in that do not stand where their ids say; returns those that are dead."""
        dead = []
        for count, (item_id, position) in enumerate(self._index.moved):
            content = self._content(self._index.by_number(position >> 32))
            if not self._sort_in(item_id, position, content):
                dead.append(item_id)
            if count % 50_000 == 49_999:
                for content in self._maps.values():
                    give_back(content, 0, len(content))
        return dead

    def _count_native(self, entry: SegmentEntry) -> None:
        offsets = entry.offsets
        if offsets.count(0) == len(offsets):
            return
        content = self._content(entry)
        fields = _HEAD_FIELDS.unpack_from
        groups, first_id, base = self._groups, entry.first_id, entry.number << 32
        given_back = 0
        number, group = b"", RecoveredQueue()
        append, payload_bytes = group.ids.append, 0
        for i in entry.first_live(0, len(offsets)):
            offset = offsets[i]
            kind, attributes, queue, size = fields(content, offset)
            if attributes or kind == FANOUT or self._suspicious:
                if not self._sort_in(first_id + i, base | offset, content):
                    offsets[i] = 0
                continue
            if queue != number:
                group.bytes += payload_bytes
                number, group = queue, groups.get(queue) or self._group(queue)
                append, payload_bytes = group.ids.append, 0
            append(first_id + i)
            payload_bytes += size
            if offset - given_back > STEP:
                given_back = give_back(content, given_back, offset)
        group.bytes += payload_bytes
        self._maps.pop(entry.number).close()

    def _group(self, number: bytes) -> RecoveredQueue:
        return self._groups.setdefault(number, RecoveredQueue(number))

    def _sort_in(self, item_id: int, position: int, content: mmap.mmap) -> bool:
        """Put an item to its queue; returns False where it is dead."""
        head = read_head(content, position & 0xFFFFFFFF, item_id)
        number = head[2:8]
        if self._is_dead(item_id, position, self._name_of(number), head):
            return False
        group = self._group(number)
        size, attributes = int.from_bytes(head[28:32], "big"), head[1]
        group.bytes += size
        group.mortal += attributes & HAS_EXPIRY
        if attributes & HAS_ORIGIN:
            origin = rec.origin(head).to_bytes(6, "big")
            self.origins.add(origin)
            self.names[origin] = self._name_of(origin)
        if attributes & ~HAS_EXPIRY:
            group.heads.append(head)
        else:
            group.ids.append(item_id)
            group.fields += len(head) - PUT_SIZE
        return True


def read_head(content: mmap.mmap, offset: int, item_id: int) -> bytes:
    """The record at ``offset`` without its payload; of a FANOUT record that of the item ``item_id``."""
    end = offset + PUT_SIZE + 8 * content[offset + 1].bit_count()
    head = content[offset:end]
    if head[0] == FANOUT:
        count = int.from_bytes(content[end : end + 4], "big")
        return rec.fan_out_member(content[offset : end + 4 + 6 * count], item_id)
    return head


def give_back(content: mmap.mmap, start: int, end: int) -> int:
    """Let go of the pages from ``start`` to ``end``, which have been read; returns up to where."""
    start, end = start // mmap.PAGESIZE * mmap.PAGESIZE, min(end, len(content)) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end
