"""Compaction: what lives in the oldest segment is copied to the youngest, and the oldest is deleted.

Segments go strictly from the oldest on. So an ACK or a DROP never outlives the
records it speaks of, and no list of what was deleted has to be kept. The price
is that living items may be copied to get at the dead ones behind them; since a
segment is only taken when a third of the journal is dead, no more bytes are
copied, in the long run, than twice what has died.

A crash may leave an item in both segments. Both records say the same, and the
later one counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice

from redqueue.journal.index import SegmentEntry
from redqueue.journal.log import Log

log = logging.getLogger(__name__)

GARBAGE = 1.5
"""Closed segments may take so many times what lives, and half a segment, before the oldest is compacted."""
ITEMS_AT_ONCE = 256
BYTES_AT_ONCE = 128 << 10
_INDICES_AT_ONCE = 1 << 16


class Compactor:
    """Keeps a journal small.

    :param journal: the journal
    :param on_copies: called when items are ready to be copied with the next frame

    :ivar copied_items: since the start
    :ivar compacted_segments: since the start
    :ivar failure: why it has stopped, in words; empty while it has not
    """

    def __init__(self, journal: Log, on_copies: Callable[[], None]) -> None:
        self._journal = journal
        self._on_copies = on_copies
        self._victim: SegmentEntry | None = None
        self._next_index = 0
        self._after_id = -1
        self._is_reading = False
        self._keep_from = 0
        self.copied_items = 0
        self.compacted_segments = 0
        self.failure = ""

    def is_due(self) -> bool:
        """Whether too much of the journal is dead."""
        journal = self._journal
        if journal.index.segments[0].number < self._keep_from:
            return True
        return journal.closed_bytes > GARBAGE * journal.live_bytes + (journal.segment_size >> 1)

    def step(self) -> bool:
        """Begin to copy the next piece, where there is something to do.

        :returns: whether to call again soon, though nothing has begun
        """
        journal = self._journal
        if self._is_reading or self.failure or journal.copies or journal.is_burying:
            return False
        victim = journal.index.segments[0]
        if victim is not self._victim:
            if self._victim is not None:
                self._victim = None
                self.compacted_segments += 1
            if not self.is_due() or len(journal.index.segments) < 2:
                return False
            self._victim = victim
            self._next_index, self._after_id = 0, -1
        if victim.live == 0 or not self._has_room(victim):
            return False
        wanted = self._next_piece(victim)
        if not wanted:
            return True
        self._is_reading = True
        journal.read_copies(wanted, self._read)
        self.copied_items += len(wanted)
        return False

    def begin_anew(self) -> None:
        """Have every segment compacted that is closed now."""
        self._keep_from = self._journal.index.segments[-1].number

    def resume(self) -> None:
        """Try again after a failure."""
        self.failure = ""

    def _read(self, error: BaseException | None) -> None:
        self._is_reading = False
        if error is None:
            self._on_copies()
            return
        self._victim = None
        self.failure = f"compaction cannot read an item back: {error}"
        log.error("%s", self.failure)

    def _has_room(self, victim: SegmentEntry) -> bool:
        """On a full disk a segment is copied only where all that lives in it has room."""
        journal = self._journal
        if not journal.is_full:
            return True
        return 2 * victim.live * (journal.live_bytes // max(1, journal.live_items) + 1) < journal.room()

    def _next_piece(self, victim: SegmentEntry) -> list[tuple[int, int]]:
        """(id, position) of the next items to copy; empty where none was found so far."""
        journal = self._journal
        size = journal.live_bytes // max(1, journal.live_items) + 1
        most = max(1, min(ITEMS_AT_ONCE, BYTES_AT_ONCE // size, (journal.segment_size >> 3) // size))
        wanted: list[tuple[int, int]] = []
        base, first_id, offsets = victim.number << 32, victim.first_id, victim.offsets
        if self._next_index < len(offsets):
            stop = min(self._next_index + _INDICES_AT_ONCE, len(offsets))
            found = [*islice(victim.first_live(self._next_index, stop), most)]
            self._next_index = found[-1] + 1 if len(found) == most else stop
            return [(first_id + i, base | offsets[i]) for i in found]
        chunk = journal.index.moved.chunk_after(self._after_id)
        if chunk is None:
            self._next_index, self._after_id = 0, -1  # some were acknowledged, or could not be written: look again
            return wanted
        for item_id, position in zip(*chunk, strict=True):
            if item_id > self._after_id and position >> 32 == victim.number:
                wanted.append((item_id, position))
                if len(wanted) == most:
                    break
        self._after_id = wanted[-1][0] if len(wanted) == most else chunk[0][-1]
        return wanted
