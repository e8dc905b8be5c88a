"""What lives in the journal, and where: the books that are kept frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from redqueue.journal import record as rec
from redqueue.journal.frame import Frame
from redqueue.journal.index import SegmentEntry
from redqueue.journal.record import ACK, FANOUT, REWRITE, WIPE
from redqueue.journal.recovery import Recovered

BURIED_AT_ONCE: Final = 5000
"""Dropped items taken out of the index in one turn."""

_from_bytes: Final = int.from_bytes


class Accounts:
    """The books of a journal.

    :param recovered: what the replay of it found

    :ivar index: where the items stand
    :ivar live_items: how many items are in it
    :ivar live_bytes: bytes of their records
    :ivar closed_bytes: bytes of all segments but the current one
    :ivar frames: how many have been written
    :ivar is_untidy: whether there may be something to tidy up: dropped items, or old segments
    """

    _entry: SegmentEntry
    """The current segment."""

    def __init__(self, recovered: Recovered) -> None:
        self.index = recovered.index
        self.live_items = recovered.live_items
        self.live_bytes = recovered.live_bytes
        self.closed_bytes = 0
        self.frames = 0
        self.is_untidy = True
        self._last_id = recovered.last_id
        self._burials: deque[Iterator[int]] = deque()

    def bury(self, ids: Iterator[int], items: int, stored: int) -> None:
        """Items are dead by a committed DROP; the index forgets them in the next turns.

        :param ids: of them
        :param items: how many they are
        :param stored: bytes of their records
        """
        self.live_items -= items
        self.live_bytes -= stored
        self._burials.append(ids)
        self.is_untidy = True

    @property
    def is_burying(self) -> bool:
        """Whether the index has not forgotten all dropped items yet."""
        return bool(self._burials)

    def tend(self) -> bool:
        """Do a bounded piece of what is left over: forget dropped items.

        :returns: whether there is more
        """
        while self._burials:
            ids = [*islice(self._burials[0], BURIED_AT_ONCE)]
            for item_id in ids:
                self.index.bury(item_id)
            if len(ids) == BURIED_AT_ONCE:
                return True
            self._burials.popleft()
        self.is_untidy = self.closed_bytes > 0
        return False

    def has_dead(self) -> bool:
        """Whether a sync would let a segment be deleted."""
        segments = self.index.segments
        return len(segments) > 1 and segments[0].live == 0 and not self._burials

    def segment_count(self) -> int:
        """Segments on disk."""
        return len(self.index.segments)

    def _account(self, frame: Frame, start: int) -> None:
        """A frame is in the current segment, its payload at ``start``."""
        self.frames += 1
        index, entry = self.index, self._entry
        if frame.named:
            start += sum(map(len, frame.named))
        if frame.puts:
            start = (self._account_fan_out if frame.has_fan_out else self._account_puts)(frame.puts, start)
        for copy in frame.copies:
            index.move(copy.item_id, entry, start)
            start += len(copy.record)
        for record in frame.others:
            if record[0] == REWRITE:
                index.move(_from_bytes(record[8:16], "big"), entry, start)
            elif record[0] == ACK:
                index.bury(_from_bytes(record[1:], "big"))
                self.live_items -= 1
            elif record[0] == WIPE:  # here, because subscriptions are written anew behind it
                index.clear_below(_from_bytes(record[1:], "big"))
            start += len(record)
        self.live_bytes += frame.growth
        if frame.acks:
            self._account_acks(frame.acks)

    def _account_puts(self, puts: list[bytes], start: int) -> int:
        """New items stand at ``start`` of the current segment; returns where they end."""
        entry, offsets = self._entry, self._entry.offsets
        first_id, count = _from_bytes(puts[0][8:16], "big"), len(puts)
        last_id = _from_bytes(puts[-1][8:16], "big")
        if first_id == entry.first_id + len(offsets) and last_id == first_id + count - 1:
            end = start
            append = offsets.append
            for record in puts:
                append(end)
                end += len(record)
            entry.live += count
        else:
            end = start
            for record in puts:
                self.index.add(entry, _from_bytes(record[8:16], "big"), end)
                end += len(record)
        self._last_id = last_id
        self.live_items += count
        self.live_bytes += end - start
        return end

    def _account_acks(self, acks: list[bytes]) -> None:
        """The items with these records are acknowledged."""
        index, entry = self.index, self._entry
        first_id, offsets, moved, freed = entry.first_id, entry.offsets, bool(index.moved), 0
        older, older_ids = entry, range(0)  # mostly they come from one segment
        for record in acks:
            item_id = _from_bytes(record[8:16], "big")
            freed += len(record)
            if moved:
                index.bury(item_id)
            elif item_id >= first_id:
                if offsets[item_id - first_id]:  # else a WIPE of the same frame has been before it
                    offsets[item_id - first_id] = 0
                    entry.live -= 1
            elif item_id not in older_ids:
                index.bury(item_id)
                older = index.native(item_id) or entry
                older_ids = range(older.first_id, older.first_id + len(older.offsets))
            elif older.offsets[item_id - older_ids.start]:
                older.offsets[item_id - older_ids.start] = 0
                older.live -= 1
        self.live_items -= len(acks)
        self.live_bytes -= freed

    def _account_fan_out(self, puts: list[bytes], start: int) -> int:
        """:meth:`_account` for puts of which some stand for several; returns where they end."""
        for record in puts:
            first_id = _from_bytes(record[8:16], "big")
            count, size = 1, len(record)
            if record[0] == FANOUT:
                count = len(rec.fan_out_queues(record))
                size -= 4 + 6 * count
            for item_id in range(first_id, first_id + count):
                self.index.add(self._entry, item_id, start)
            self._last_id = first_id + count - 1
            self.live_items += count
            self.live_bytes += count * size
            start += len(record)
        return start
