"""The journal: frames appended to segments, group commit, rotation, and the sync thread.

One frame is in the making at any time; everything that happens meanwhile goes
into the next. ``write`` puts it into the current segment at once, in the
caller's thread. ``start`` hands it to the worker, which also syncs, and begins
a new segment where the frame does not fit. While the worker is at it the log is
``busy``, and the caller collects for the next frame: that is the group commit,
and it also keeps write(2) from waiting behind a running sync of the same file.

A new segment is made only after the one before has been synced. So all that a
crash can damage is the end of the last segment.

A segment's space is allocated when it is made, and its last part is kept for
acknowledgements: puts go on in the next segment. So a disk that is full refuses
puts while acknowledgements go on, and their items' segments make room.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from pathlib import Path

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.fetch import fetch
from redqueue.journal.index import SegmentEntry
from redqueue.journal.record import ACK, ACK_KIND, DROP, FANOUT, HAS_ORIGIN, ID_FIELD, QUEUE_FIELD, REWRITE, WIPE
from redqueue.journal.recovery import Recovered
from redqueue.journal.segment import FRAME_SIZE, HEADER_SIZE, Header, Segment, allocate_spare, position, sync_directory
from redqueue.journal.worker import Worker

log = logging.getLogger(__name__)

Done = Callable[[BaseException | None], None]
Fetched = Callable[[list[bytes] | None, BaseException | None], None]

ACK_FRAME = FRAME_SIZE + rec.ACK_RECORD.size
"""Bytes of a frame that acknowledges one item."""
SMALLEST_SEGMENT = 64 << 10
"""Bytes; where the disk has no room for a full segment, one down to this size is made."""
SMALLEST_FOR_ACKS = 4 << 10
"""Bytes; the same at a start, and where acknowledgements have no room else: theirs was given back to the disk."""
BURIED_AT_ONCE = 5000
"""Dropped items taken out of the index in one turn."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

_from_bytes = int.from_bytes


class DiskFull(OSError):
    """There was no room for a frame.

    :ivar acks_written: whether its acknowledgements were written all the same
    """

    def __init__(self, cause: OSError, acks_written: bool) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.acks_written = acks_written


class Copy:
    """The record of a living item that compaction takes to the current segment.

    :ivar position: where it was read
    """

    __slots__ = ("item_id", "position", "record")

    def __init__(self, item_id: int, position: int, record: bytes) -> None:
        self.item_id = item_id
        self.position = position
        self.record = record


class Frame:
    """The records of one frame.

    :ivar growth: by how many bytes ``others`` make the living records longer
    :ivar has_fan_out: whether some of ``puts`` stand for several items
    """

    __slots__ = ("acks", "copies", "count", "growth", "has_fan_out", "named", "others", "payload", "puts")

    def __init__(
        self,
        named: Sequence[bytes],
        puts: list[bytes],
        copies: list[Copy],
        others: list[bytes],
        acks: list[bytes],
        growth: int = 0,
        has_fan_out: bool = False,
    ) -> None:
        self.named = named
        self.puts = puts
        self.copies = copies
        self.others = others
        self.acks = acks
        self.growth = growth
        self.has_fan_out = has_fan_out
        self.count = len(named) + len(puts) + len(copies) + len(others) + len(acks)
        parts = [*named, *puts] if named else puts
        if copies or others:
            parts = [*parts, *[rec.copied(copy.record) for copy in copies], *others]
        if acks:
            parts = [*parts, ACK_KIND, ACK_KIND.join([record[ID_FIELD] for record in acks])]
        self.payload = b"".join(parts)

    @property
    def takes_space(self) -> bool:
        """Whether it is more than acknowledgements and drops."""
        return bool(self.puts or self.copies) or any(record[0] == REWRITE for record in self.others)


class Log:
    """An open journal.

    :param directory: where the segments are
    :param recovered: what the replay of it found
    :param segment_size: bytes allocated for a segment
    :param sync: whether each frame is synced before it counts
    :param wall_ns: the wall clock
    :param worker: the thread for everything that writes and waits for the disk
    :param reader: the thread that reads items back and removes segments; None for the same one

    :ivar busy: whether the worker is writing or syncing; no frame may be begun
    :ivar needs_sync: whether anything written has not been synced
    :ivar live_items: how many items are in it
    :ivar live_bytes: bytes of their records
    :ivar index: where the items stand
    :ivar is_untidy: whether there may be something to tidy up: dropped items, or old segments
    :ivar is_full: whether the disk had no room for the last segment that was wanted
    :ivar copies: what compaction has read and the next frames will take
    """

    def __init__(
        self,
        directory: Path,
        recovered: Recovered,
        *,
        segment_size: int,
        sync: bool,
        wall_ns: Callable[[], int],
        worker: Worker,
        reader: Worker | None = None,
    ) -> None:
        self.directory = directory
        self.busy = False
        self.needs_sync = False
        self.frames = 0
        self.syncs = 0
        self.segment_size = segment_size
        self._smallest = min(SMALLEST_SEGMENT, segment_size)
        self._sync = sync
        self._wall_ns = wall_ns
        self._worker = worker
        self._reader = reader or worker
        self._puts: list[bytes] = []
        self._acks: list[bytes] = []
        self._others: list[bytes] = []
        self._has_fan_out = False
        self._growth = 0
        self.is_full = False
        self.is_untidy = True
        self.put: Callable[[bytes], None] = self._puts.append
        self.acknowledge: Callable[[bytes], None] = self._acks.append
        self.append: Callable[[bytes], None] = self._others.append
        self.copies: deque[Copy] = deque()
        self._burials: deque[Iterator[int]] = deque()
        self._names = dict(recovered.names)
        self._numbers: dict[bytes, list[bytes]] = {}
        for number, name in sorted(recovered.names.items()):
            self._numbers.setdefault(name, []).append(number)
        self._unnamed = set(self._names)
        self._pinned = set(recovered.origins)
        self._last_queue = recovered.last_queue
        self._last_id = recovered.last_id
        self.index = recovered.index
        self.live_items = recovered.live_items
        self.live_bytes = recovered.live_bytes
        self._remove = _Remover()
        segments = self.index.segments
        while len(segments) > 1 and segments[0].live == 0:  # before a new one is made, for which there may be no room
            self._remove(self.index.remove_oldest().path)
        self.closed_bytes = sum(entry.size for entry in segments)
        self._current = self._begin_segment(
            self._allocate(min(SMALLEST_FOR_ACKS, segment_size)),
            recovered.next_segment,
            segments[-1].size if segments else 0,
        )
        self._current.publish()
        self._entry = self._add_entry(self._current, self._last_id + 1)
        self._durable = position(self._current.number, self._current.end)
        self.remove_dead()

    # -- the engine's side ---------------------------------------------------

    def open_queue(self, name: bytes) -> int:
        """A number for a queue; its name is written before the number's first use in each segment."""
        numbers = self._numbers.get(name)
        if numbers is None:
            self._last_queue += 1
            numbers = self._numbers[name] = [self._last_queue.to_bytes(6, "big")]
            self._names[numbers[0]] = name
            self._unnamed.add(numbers[0])
        return _from_bytes(numbers[-1], "big")

    def pin_queue(self, name: bytes) -> int:
        """A number for a queue that stays, whether the queue is open or not."""
        number = self.open_queue(name)
        self._pinned.add(number.to_bytes(6, "big"))
        return number

    def close_queue(self, number: int) -> None:
        """The number is not used any more, unless it is pinned."""
        name = self._names[number.to_bytes(6, "big")]
        keys = self._numbers.pop(name)
        pinned = [key for key in keys if key in self._pinned]
        if pinned:
            self._numbers[name] = pinned
        for key in keys:
            if key not in self._pinned:
                del self._names[key]
                self._unnamed.discard(key)

    def rewrite(self, new: bytes, old: bytes) -> None:
        """Add a REWRITE record to the open frame, of an item whose record was ``old``."""
        self.append(new)
        self._growth += len(new) - len(old)

    def acknowledge_with_put(self, record: bytes) -> None:
        """Acknowledge an item only if the puts of the same frame can be written, too."""
        self.append(rec.ack(record[ID_FIELD]))
        self._growth -= len(record)

    def put_together(self, records: Sequence[bytes]) -> None:
        """Add PUT records with ids in a row, which differ in id and queue only, as one."""
        self._has_fan_out = True
        self.put(rec.fan_out(records))

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


    def read(self, ids: list[int], done: Fetched) -> None:
        """Have the records of living items read back.

        :param done: called later with the records, in the order of ``ids``, or with None and the exception
        """
        self._fetch([*zip(ids, self.index.positions(ids), strict=True)], done)

    def read_copies(self, wanted: Sequence[tuple[int, int]], done: Callable[[BaseException | None], None]) -> None:
        """Have items read that are to be copied to the current segment; then ``copies`` has them."""

        def fetched(records: list[bytes] | None, error: BaseException | None) -> None:
            if records is not None:
                for (item_id, place), record in zip(wanted, records, strict=True):
                    self.copies.append(Copy(item_id, place, record))
            done(error)

        self._fetch(wanted, fetched)

    def _fetch(self, wanted: Sequence[tuple[int, int]], done: Fetched) -> None:
        records: list[bytes] = []
        self._reader.submit(
            lambda: records.extend(fetch(self.directory, wanted)),
            lambda error: done(records if error is None else None, error),
        )

    # -- writing --------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether the open frame has records."""
        return bool(self._puts or self._acks or self._others or self.copies)

    def write(self) -> bool:
        """Write the open frame, in this thread, where that is all it takes.

        :returns: False where it takes :meth:`start`, and nothing has happened
        :raises OSError: nothing of the frame counts, and it is forgotten
        """
        if self._sync:
            return False
        puts, acks = self._puts, self._acks
        if self._others or self.copies or self._has_fan_out or (self._unnamed and self._to_name(puts)):
            return self._write_frame()
        payload = b"".join(puts)
        if acks:
            payload += ACK_KIND + ACK_KIND.join([record[ID_FIELD] for record in acks])
        current = self._current
        start = current.end + FRAME_SIZE
        # Up to the middle of a segment there is room, whatever is kept for acknowledgements.
        if start + len(payload) > current.size >> 1 and not self._has_room(len(payload), bool(puts)):
            return False
        try:
            current.append(self._wall_ns(), self._durable, len(puts) + len(acks), payload)
        except OSError as error:
            raise self._failure(error, acks) from error
        else:
            self.needs_sync = True
            self.frames += 1
            if puts:
                self._account_puts(puts, start)
            if acks:
                self._account_acks(acks)
        finally:
            puts.clear()
            acks.clear()
        return True

    def _write_frame(self) -> bool:
        """:meth:`write` for a frame of any records."""
        copies = self._living_copies() if self.copies else []
        puts, others, acks = self._puts, self._others, self._acks
        named = self._to_name(puts, others, copies)
        frame = Frame(named, puts, copies, others, acks, self._growth, self._has_fan_out)
        if not self._has_room(len(frame.payload), frame.takes_space):
            self.copies.extendleft(reversed(copies))
            return False
        try:
            self._account(frame, self._append(frame))
        except OSError as error:
            raise self._failure(error, acks) from error
        finally:
            self.discard()
        return True

    def _failure(self, error: OSError, acks: list[bytes]) -> OSError:
        """What to say of a frame with these acknowledgements that could not be written."""
        if error.errno not in _DISK_FULL:
            return error
        return DiskFull(error, self._write_acks_only(acks))

    def _write_acks_only(self, acks: list[bytes]) -> bool:
        """The disk has no room for the frame that these belong to; returns whether it had for them."""
        self.is_full = True
        frame = Frame((), [], [], [], acks)
        if not acks or not self._has_room(len(frame.payload), False):
            return False
        try:
            self._account(frame, self._append(frame))
        except OSError:
            return False
        return True

    def start(self, done: Done) -> None:
        """Have the worker write the open frame, and sync it where ``sync`` is set.

        :param done: called when it is over, with the exception or None; until
            then the log is busy. :class:`DiskFull` says whether the
            acknowledgements were written
        """
        puts, acks, others = self._puts.copy(), self._acks.copy(), self._others.copy()
        growth, has_fan_out = self._growth, self._has_fan_out
        copies = self._living_copies() if self.copies else []
        self.discard()
        self.busy = True
        written: list[tuple[Frame, int]] = []

        def job() -> None:
            frame = Frame(self._to_name(puts, others, copies), puts, copies, others, acks, growth, has_fan_out)
            try:
                if not self._has_room(len(frame.payload), frame.takes_space):
                    self._rotate(max(self._smallest, self._size_for(frame)))
                    frame = Frame(self._to_name(puts, others, copies), puts, copies, others, acks, growth, has_fan_out)
                start = self._append(frame)
            except OSError as error:
                if error.errno not in _DISK_FULL:
                    raise
                frame = Frame((), [], [], [], acks)
                if not acks:
                    raise DiskFull(error, False) from error
                try:
                    if not self._has_room(len(frame.payload), False):
                        self._rotate(max(min(SMALLEST_FOR_ACKS, self.segment_size), self._size_for(frame)))
                    start = self._append(frame)
                except OSError as again:
                    if again.errno not in _DISK_FULL:
                        raise
                    raise DiskFull(error, False) from error
                written.append((frame, start))
                self._datasync_if_needed()
                raise DiskFull(error, True) from error
            written.append((frame, start))
            self._datasync_if_needed()

        def finished(error: BaseException | None) -> None:
            self.busy = False
            self._take_new_segment()
            if isinstance(error, DiskFull):
                self.is_full = True
            if error is None or (isinstance(error, DiskFull) and error.acks_written):
                self._account(*written[0])
            done(error)

        self._worker.submit(job, finished)

    def start_sync(self, done: Done) -> None:
        """Have the worker sync what was written; the log is busy until ``done`` is called."""
        self.busy = True

        def finished(error: BaseException | None) -> None:
            self.busy = False
            if error is None:
                self.remove_dead()
            done(error)

        self._worker.submit(self._datasync, finished)

    def start_segment(self, done: Done) -> None:
        """Have the worker begin a new segment, to see whether a full disk has room again; busy until ``done``."""
        self.busy = True

        def finished(error: BaseException | None) -> None:
            self.busy = False
            self._take_new_segment()
            done(error)

        self._worker.submit(lambda: self._rotate(self._smallest), finished)

    def look(self, missing: Callable[[BaseException], None]) -> None:
        """Have the reader see whether the current segment is where it was made.

        :param missing: called with the exception where it is not
        """
        segment = self._current

        def finished(error: BaseException | None) -> None:
            if error is not None and segment is self._current:
                missing(error)

        self._reader.submit(segment.check_place, finished)

    def discard(self) -> None:
        """Forget the open frame."""
        self._puts.clear()
        self._acks.clear()
        self._others.clear()
        self._growth = 0
        self._has_fan_out = False

    def close(self) -> None:
        """Sync and close the current segment and end the workers. The open frame must be empty.

        :raises OSError: where the sync fails
        """
        self._end_workers()
        try:
            self._current.finish()
        finally:
            self._current.close()

    def abandon(self) -> None:
        """End the workers and leave the current segment as it is: it has failed."""
        self._end_workers()
        self._current.close()

    def _end_workers(self) -> None:
        self._worker.close()
        if self._reader is not self._worker:
            self._reader.close()

    def _living_copies(self) -> list[Copy]:
        """The copies that still make sense, now that all frames before are accounted for."""
        if self._burials:
            return []
        copies, where = [], self.index.position
        while self.copies:
            copy = self.copies.popleft()
            if where(copy.item_id) == copy.position:
                copies.append(copy)
        return copies

    def _has_room(self, length: int, takes_space: bool) -> bool:
        """Whether a frame goes into the current segment, and leaves room for acknowledgements.

        As many as there are items may come one by one; but no more than half of the segment is kept for them.

        :param length: bytes of its payload
        :param takes_space: whether it is more than acknowledgements and drops
        """
        reserve = 0
        if takes_space and not self.is_full:
            size = self._current.size
            reserve = min(size >> 1, max(size >> 3, ACK_FRAME * self.live_items))
        return self._current.has_room(length, reserve)

    def _size_for(self, frame: Frame) -> int:
        """Bytes that a new segment needs for a frame and for acknowledgements behind it."""
        length = len(frame.payload)
        if length > self.segment_size >> 1:  # else there is room for the names of its queues anyhow
            length += len(b"".join(self._names.values())) + rec.NAME_HEAD.size * len(self._names)
        return HEADER_SIZE + FRAME_SIZE + length + max(length, SMALLEST_FOR_ACKS) // 8

    def _to_name(
        self, puts: Sequence[bytes], others: Sequence[bytes] = (), copies: Sequence[Copy] = ()
    ) -> Sequence[bytes]:
        """NAME records for the queues that a frame of these records is the first to speak of in its segment."""
        if not self._unnamed:
            return ()
        used = [record[QUEUE_FIELD] for record in puts]
        used += [record[QUEUE_FIELD] for record in others if record[0] == DROP]
        rewritten = [*(copy.record for copy in copies), *(record for record in others if record[0] == REWRITE)]
        used += [record[QUEUE_FIELD] for record in rewritten]
        used += [rec.origin(record).to_bytes(6, "big") for record in (*puts, *rewritten) if record[1] & HAS_ORIGIN]
        for record in puts:
            if record[0] == FANOUT:
                used += rec.fan_out_queues(record)
        names = self._names
        return [rec.name(_from_bytes(key, "big"), names[key]) for key in sorted(self._unnamed.intersection(used))]

    def _append(self, frame: Frame) -> int:
        """Write a frame into the current segment; returns the offset of its payload."""
        start = self._current.end + FRAME_SIZE
        self._current.append(self._wall_ns(), self._durable, frame.count, frame.payload)
        self.needs_sync = True
        for name in frame.named:
            self._unnamed.discard(name[QUEUE_FIELD])
        return start

    def _datasync_if_needed(self) -> None:
        if self._sync:
            self._datasync()

    def _datasync(self) -> None:
        end = self._current.end
        self._current.sync()
        self.syncs += 1
        self._durable = position(self._current.number, end)
        self.needs_sync = self._current.end != end

    # -- segments -----------------------------------------------------------------

    def _allocate(self, least: int) -> int:
        """Space for a segment: a full one, or a smaller one, down to ``least``, where the disk has no room for that."""
        size = max(self.segment_size, least)
        while True:
            try:
                return allocate_spare(self.directory, size)
            except OSError as error:
                if error.errno not in _DISK_FULL or size <= least:
                    raise
                size = max(least, size // 2)

    def _begin_segment(self, spare: int, number: int, previous_end: int, previous_failed: bool = False) -> Segment:
        header = Header(number, self._wall_ns(), self._last_id + 1, previous_end, previous_failed)
        return Segment(self.directory, spare, header)

    def _rotate(self, least: int) -> None:
        """Go on in a new segment, as for :meth:`_allocate`. In the worker."""
        spare = self._allocate(least)
        full = self._current
        try:
            full.finish()
        except OSError:
            os.close(spare)
            raise
        segment = self._begin_segment(spare, full.number + 1, full.end)
        segment.publish()
        self._current = segment
        self._entry.size = full.end
        full.close()
        self._unnamed.update(self._names)  # in place: open_queue may be adding to it meanwhile
        self._durable = position(self._current.number, self._current.end)
        self.needs_sync = False

    def _take_new_segment(self) -> None:
        """If the worker has begun a new segment, it is the current one from here on."""
        if self._entry.number != self._current.number:
            self.is_full = False
            self.closed_bytes += self._entry.size
            self.is_untidy = True
            self._entry = self._add_entry(self._current, self._last_id + 1)
            unsynced, self.needs_sync = self.needs_sync, False
            self.remove_dead()  # what the frames before this one have killed: beginning a segment has synced them
            self.needs_sync = unsynced

    def _add_entry(self, segment: Segment, first_id: int) -> SegmentEntry:
        entry = SegmentEntry(segment.number, segment.path, first_id, segment.size)
        self.index.add_segment(entry)
        return entry

    def remove_dead(self) -> None:
        """Delete segments, oldest first, as long as nothing in them lives.

        A younger one stays behind an older, because its ACKs may speak of items there. Nothing happens
        unless everything written is synced: a power failure must not take the frame that moved an item
        on (a copy, a swap) when the segment where it was before is gone already.
        """
        segments = self.index.segments
        while not self.needs_sync and not self._burials and segments[0].live == 0 and len(segments) > 1:
            entry = self.index.remove_oldest()
            self.closed_bytes -= entry.size
            self._reader.submit(partial(self._remove, entry.path))

    @property
    def is_burying(self) -> bool:
        """Whether the index has not forgotten all dropped items yet."""
        return bool(self._burials)

    def room(self) -> int:
        """Bytes left in the current segment."""
        return max(0, self._current.size - self._current.end)

    def has_dead(self) -> bool:
        """Whether a sync would let a segment be deleted."""
        segments = self.index.segments
        return len(segments) > 1 and segments[0].live == 0 and not self._burials

    # -- what lives where ----------------------------------------------------------

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
                index.move(_from_bytes(record[ID_FIELD], "big"), entry, start)
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
        first_id, count = _from_bytes(puts[0][ID_FIELD], "big"), len(puts)
        last_id = _from_bytes(puts[-1][ID_FIELD], "big")
        if first_id == entry.first_id + len(offsets) and last_id == first_id + count - 1:
            offsets.extend(accumulate(map(len, puts), initial=start))
            end: int = offsets.pop()
            entry.live += count
        else:
            end = start
            for record in puts:
                self.index.add(entry, _from_bytes(record[ID_FIELD], "big"), end)
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
            item_id = _from_bytes(record[ID_FIELD], "big")
            freed += len(record)
            if moved:
                index.bury(item_id)
            elif item_id >= first_id:
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
            first_id = _from_bytes(record[ID_FIELD], "big")
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

    # -- going on after a failure -------------------------------------------------

    def start_moving_on(self, done: Done) -> None:
        """After a failed write or sync: go on in a new segment; the log is busy until ``done`` is called.

        The failed file is never synced again and its end never trusted: what was
        confirmed and not synced is read back from it, checked, and written to the
        new segment, whose header says up to where the failed one counts.
        """
        self.busy = True
        failed, entry = self._current, self._entry
        relocated: list[tuple[int, int, int]] = []

        def job() -> None:
            failed.check_place()
            counted = self._durable & 0xFFFFFFFF if self._durable >> 32 == failed.number else HEADER_SIZE
            frames = [] if self._sync else _frames_after(failed, counted)
            names = b"".join(rec.name(_from_bytes(key, "big"), name) for key, name in sorted(self._names.items()))
            needed = HEADER_SIZE + (len(frames) + 1) * FRAME_SIZE + len(names) + sum(len(f.payload) for f in frames)
            spare = self._allocate(max(self._smallest, needed + SMALLEST_FOR_ACKS))
            segment = self._begin_segment(spare, failed.number + 1, counted, previous_failed=True)
            try:
                if names:
                    segment.append(self._wall_ns(), position(segment.number, HEADER_SIZE), len(self._names), names)
                for frame in frames:
                    start = segment.end + FRAME_SIZE
                    segment.append(self._wall_ns(), position(segment.number, HEADER_SIZE), frame.records, frame.payload)
                    relocated.extend(_items_moved(frame, start))
            except OSError:
                segment.discard()
                raise
            segment.publish()  # not before it has all: from here on the end of the failed file does not count
            self._current = segment
            self._durable = position(segment.number, segment.end)
            self.needs_sync = False
            self._unnamed.difference_update(list(self._names))
            failed.close()
            with contextlib.suppress(OSError):
                os.truncate(failed.path, counted)
            entry.size = counted

        def finished(error: BaseException | None) -> None:
            self.busy = False
            if error is None:
                self.closed_bytes += entry.size
                self.is_untidy = True
                self._entry = self._add_entry(self._current, self._last_id + 1)
                for item_id, before, now in relocated:
                    if self.index.position(item_id) == position(entry.number, before):
                        self.index.move(item_id, self._entry, now)
                self.copies.clear()
            done(error)

        self._worker.submit(job, finished)

    # -- figures ---------------------------------------------------------------

    def segment_count(self) -> int:
        """Segments on disk."""
        return len(self.index.segments)

    def disk_bytes(self) -> int:
        """Bytes used on disk, allocated ones of the current segment included."""
        return self.closed_bytes + max(self._current.size, self._current.end)


def _frames_after(segment: Segment, offset: int) -> list[seg.Frame]:
    """The good frames of a segment from ``offset`` on, read through its descriptor.

    :raises OSError: where that fails
    """
    data = os.pread(segment.fd, segment.end, 0)
    frames = [*seg.frames(memoryview(data), segment.number, offset)]
    end = frames[-1].end if frames else offset
    if end != segment.end:
        log.critical(
            "%s cannot be read back from offset %d to %d: what was confirmed there is in memory only",
            segment.path,
            end,
            segment.end,
        )
    return frames


def _items_moved(frame: seg.Frame, start: int) -> Iterator[tuple[int, int, int]]:
    """(id, offset before, offset now) of each item of a frame whose payload now stands at ``start``."""
    payload, before = frame.payload, frame.offset + FRAME_SIZE
    for at, record in rec.split(payload):
        if record[0] in (rec.PUT, REWRITE, FANOUT):
            first_id = _from_bytes(record[ID_FIELD], "big")
            count = len(rec.fan_out_queues(record)) if record[0] == FANOUT else 1
            for item_id in range(first_id, first_id + count):
                yield item_id, before + at, start + at


class _Remover:
    """Removes dead segments, strictly in their order; a failure is logged and costs only disk space.

    What could not be removed, or whose removal could not be synced, is tried again
    before the next one: no crash may leave a gap in the numbers.
    """

    def __init__(self) -> None:
        self._paths: deque[Path] = deque()

    def __call__(self, path: Path) -> None:
        self._paths.append(path)
        try:
            while self._paths:
                path = self._paths[0]
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                sync_directory(path.parent)
                self._paths.popleft()
                log.debug("segment %s has nothing live and is removed", path.name)
        except OSError as error:
            log.error("segment %s has nothing live and cannot be removed: %s", path, error)
