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

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from redqueue.histogram import Histogram
from redqueue.journal import record as rec
from redqueue.journal.accounts import Accounts
from redqueue.journal.failed import DiskFull, frames_after, items_moved
from redqueue.journal.fetch import fetch
from redqueue.journal.frame import Copy, Frame
from redqueue.journal.framing import FRAME_SIZE
from redqueue.journal.index import SegmentEntry
from redqueue.journal.names import QueueNames
from redqueue.journal.record import ACK_KIND
from redqueue.journal.recovery import Recovered
from redqueue.journal.removal import Remover
from redqueue.journal.segment import HEADER_SIZE, Header, Segment, allocate_spare, give_back, position
from redqueue.journal.worker import Worker

log = logging.getLogger(__name__)

Done = Callable[[BaseException | None], None]
Fetched = Callable[[list[bytes] | None, BaseException | None], None]

ACK_FRAME: Final = FRAME_SIZE + rec.ACK_RECORD.size
"""Bytes of a frame that acknowledges one item."""
SMALLEST_SEGMENT: Final = 64 << 10
"""Bytes; where the disk has no room for a full segment, one down to this size is made."""
SMALLEST_FOR_ACKS: Final = 4 << 10
"""Bytes; the same at a start, and where acknowledgements have no room else: theirs was given back to the disk."""
SYNC_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_from_bytes: Final = int.from_bytes


class Log(Accounts):
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
    :ivar sync_seconds: how long syncs took
    :ivar sync_errors: how many failed
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
        super().__init__(recovered)
        self.directory = directory
        self.busy = False
        self.needs_sync = False
        self.syncs = 0
        self.sync_errors = 0
        self.sync_seconds = Histogram(SYNC_BOUNDS)
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
        self.put: Callable[[bytes], None] = self._puts.append
        self.acknowledge: Callable[[bytes], None] = self._acks.append
        self.append: Callable[[bytes], None] = self._others.append
        self.copies: deque[Copy] = deque()
        self._names = names = QueueNames(recovered.names, recovered.origins, recovered.last_queue)
        self.open_queue = names.open
        self.pin_queue = names.pin
        self.close_queue = names.close
        self._remove = Remover()
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

    def rewrite(self, new: bytes, old: bytes) -> None:
        """Add a REWRITE record to the open frame, of an item whose record was ``old``."""
        self.append(new)
        self._growth += len(new) - len(old)

    def acknowledge_with_put(self, record: bytes) -> None:
        """Acknowledge an item only if the puts of the same frame can be written, too."""
        self.append(rec.ack(record[8:16]))
        self._growth -= len(record)

    def put_together(self, records: Sequence[bytes]) -> None:
        """Add PUT records with ids in a row, which differ in id and queue only, as one."""
        self._has_fan_out = True
        self.put(rec.fan_out(records))

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
        if self._others or self.copies or self._has_fan_out or (self._names.unnamed and self._names.needed(puts)):
            return self._write_frame()
        payload = b"".join(puts)
        if acks:
            payload += ACK_KIND + ACK_KIND.join([record[8:16] for record in acks])
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
        named = self._names.needed(puts, others, copies)
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

        def made() -> Frame:
            named = self._names.needed(puts, others, copies)
            return Frame(named, puts, copies, others, acks, growth, has_fan_out)

        def job() -> None:
            frame = made()
            try:
                if not self._has_room(len(frame.payload), frame.takes_space):
                    self._rotate(max(self._smallest, self._size_for(frame)))
                    frame = Frame(
                        self._names.needed(puts, others, copies), puts, copies, others, acks, growth, has_fan_out
                    )
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
            length += sum(map(len, self._names.all()))
        return HEADER_SIZE + FRAME_SIZE + length + max(length, SMALLEST_FOR_ACKS) // 8

    def _append(self, frame: Frame) -> int:
        """Write a frame into the current segment; returns the offset of its payload."""
        start = self._current.end + FRAME_SIZE
        self._current.append(self._wall_ns(), self._durable, frame.count, frame.payload)
        self.needs_sync = True
        self._names.were_written(frame.named)
        return start

    def _datasync_if_needed(self) -> None:
        if self._sync:
            self._datasync()

    def _datasync(self) -> None:
        end = self._current.end
        self._timed(self._current.sync)
        self.syncs += 1
        self._durable = position(self._current.number, end)
        self.needs_sync = self._current.end != end

    def _timed(self, sync: Callable[[], None]) -> None:
        """Sync a segment, and note how long that takes."""
        begun = time.monotonic()
        try:
            sync()
        except OSError:
            self.sync_errors += 1
            raise
        self.sync_seconds.observe(time.monotonic() - begun)

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
            self._timed(full.finish)
        except OSError:
            give_back(spare)
            raise
        segment = self._begin_segment(spare, full.number + 1, full.end)
        segment.publish()
        self._current = segment
        self._entry.size = full.end
        full.close()
        self._names.begin_segment()
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

    def room(self) -> int:
        """Bytes left in the current segment."""
        return max(0, self._current.size - self._current.end)

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
            frames = [] if self._sync else frames_after(failed, counted)
            names = self._names.all()
            needed = HEADER_SIZE + (len(frames) + 1) * FRAME_SIZE + len(names) + sum(len(f.payload) for f in frames)
            spare = self._allocate(max(self._smallest, needed + SMALLEST_FOR_ACKS))
            segment = self._begin_segment(spare, failed.number + 1, counted, previous_failed=True)
            try:
                if names:
                    segment.append(self._wall_ns(), position(segment.number, HEADER_SIZE), len(names), b"".join(names))
                for frame in frames:
                    start = segment.end + FRAME_SIZE
                    segment.append(self._wall_ns(), position(segment.number, HEADER_SIZE), frame.records, frame.payload)
                    relocated.extend(items_moved(frame, start))
            except OSError:
                segment.discard()
                raise
            segment.publish()  # not before it has all: from here on the end of the failed file does not count
            self._current = segment
            self._durable = position(segment.number, segment.end)
            self.needs_sync = False
            self._names.were_written(names)
            failed.close()
            failed.cut(counted)
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

    def disk_bytes(self) -> int:
        """Bytes used on disk, allocated ones of the current segment included."""
        return self.closed_bytes + max(self._current.size, self._current.end)
