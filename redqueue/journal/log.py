"""The journal: frames appended to segments, group commit, rotation, and the sync thread.

One frame is in the making at any time; everything that happens meanwhile goes
into the next. ``write`` puts it into the current segment at once, in the
caller's thread. ``start`` hands it to the worker, which also syncs, and begins
a new segment where the frame does not fit. While the worker is at it the log is
``busy``, and the caller collects for the next frame: that is the group commit,
and it also keeps write(2) from waiting behind a running sync of the same file.

A new segment is made only after the one before has been synced. So all that a
crash can damage is the end of the last segment.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from redqueue.journal import record as rec
from redqueue.journal.record import ACK_KIND, DROP, ID_FIELD, QUEUE_FIELD, REWRITE
from redqueue.journal.recovery import OldSegment, Recovered
from redqueue.journal.segment import Segment, position, sync_directory
from redqueue.journal.worker import Worker

log = logging.getLogger(__name__)

Done = Callable[[BaseException | None], None]


class Log:
    """An open journal.

    :param directory: where the segments are
    :param recovered: what the replay of it found
    :param segment_size: bytes allocated for a segment
    :param sync: whether each frame is synced before it counts
    :param wall_ns: the wall clock
    :param worker: the thread for everything that waits for the disk

    :ivar busy: whether the worker is writing or syncing; no frame may be begun
    :ivar needs_sync: whether anything written has not been synced
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
    ) -> None:
        self.directory = directory
        self.busy = False
        self.needs_sync = False
        self.frames = 0
        self.syncs = 0
        self._segment_size = segment_size
        self._sync = sync
        self._wall_ns = wall_ns
        self._worker = worker
        self._puts: list[bytes] = []
        self._acks: list[bytes] = []
        self._others: list[bytes] = []
        self.put: Callable[[bytes], None] = self._puts.append
        self.acknowledge: Callable[[bytes], None] = self._acks.append
        self.append: Callable[[bytes], None] = self._others.append
        self._names: dict[bytes, bytes] = {}
        self._unnamed: set[bytes] = set()
        self._last_queue = recovered.last_queue
        self._rewritten = recovered.rewritten
        self._segments = list(recovered.segments)
        self._last_id = recovered.last_id.to_bytes(8, "big")
        previous_end = self._segments[-1].size if self._segments else 0
        self._current = Segment(
            directory, recovered.next_segment, segment_size, wall_ns(), recovered.last_id + 1, previous_end
        )
        self._add_current()
        self._durable = position(self._current.number, self._current.end)
        self._remove_dead()

    # -- the engine's side ---------------------------------------------------

    def open_queue(self, name: bytes) -> int:
        """A number for a queue; its name is written before the number's first use in each segment."""
        self._last_queue += 1
        key = self._last_queue.to_bytes(6, "big")
        self._names[key] = name
        self._unnamed.add(key)
        return self._last_queue

    def close_queue(self, number: int) -> None:
        """The number is not used any more."""
        key = number.to_bytes(6, "big")
        del self._names[key]
        self._unnamed.discard(key)

    def bury(self, records: Iterable[bytes]) -> None:
        """These PUT records are dead, by a DROP or WIPE."""
        for record in records:
            self._bury(record[ID_FIELD])
        if not self.needs_sync:
            self._remove_dead()

    # -- writing --------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether the open frame has records."""
        return bool(self._puts or self._acks or self._others)

    def write(self) -> bool:
        """Write the open frame, in this thread, where that is all it takes.

        :returns: False where it takes :meth:`start`, and nothing has happened
        :raises OSError: nothing of the frame counts, and it is forgotten
        """
        if self._sync:
            return False
        puts, acks, others = self._puts, self._acks, self._others
        named = self._to_name(puts, others) if self._unnamed else ()
        payload = self._payload(named, puts, others, acks) if named or others or acks else b"".join(puts)
        if not self._current.has_room(len(payload)):
            return False
        try:
            self._append(payload, len(named) + len(puts) + len(others) + len(acks), named)
            self._account(puts, others, acks)
        finally:
            puts.clear()
            acks.clear()
            others.clear()
        return True

    def start(self, done: Done) -> None:
        """Have the worker write the open frame, and sync it where ``sync`` is set.

        :param done: called when it is over, with the exception or None; until
            then the log is busy
        """
        puts, acks, others = self._puts.copy(), self._acks.copy(), self._others.copy()
        self._puts.clear()
        self._acks.clear()
        self._others.clear()
        self.busy = True

        def job() -> None:
            named = self._to_name(puts, others)
            payload = self._payload(named, puts, others, acks)
            if not self._current.has_room(len(payload)):
                self._rotate()
                named = self._to_name(puts, others)
                payload = self._payload(named, puts, others, acks)
            self._append(payload, len(named) + len(puts) + len(others) + len(acks), named)
            if self._sync:
                self._datasync()

        def finished(error: BaseException | None) -> None:
            self.busy = False
            if error is None:
                if self._segments[-1].number != self._current.number:
                    self._remove_dead()  # beginning a segment has synced all before
                self._account(puts, others, acks)
            done(error)

        self._worker.submit(job, finished)

    def start_sync(self, done: Done) -> None:
        """Have the worker sync what was written; the log is busy until ``done`` is called."""
        self.busy = True

        def finished(error: BaseException | None) -> None:
            self.busy = False
            if error is None:
                self._remove_dead()
            done(error)

        self._worker.submit(self._datasync, finished)

    def close(self) -> None:
        """Sync and close the current segment and end the worker. The open frame must be empty.

        :raises OSError: where the sync fails
        """
        self._worker.close()
        try:
            self._current.finish()
        finally:
            self._current.close()

    def abandon(self) -> None:
        """End the worker and leave the current segment as it is: it has failed."""
        self._worker.close()
        self._current.close()

    def _to_name(self, puts: list[bytes], others: list[bytes]) -> Sequence[bytes]:
        """The numbers of queues that a frame of these records is the first to speak of in its segment."""
        used = [record[QUEUE_FIELD] for record in puts]
        used += [record[QUEUE_FIELD] for record in others if record[0] in (REWRITE, DROP)]
        return sorted(self._unnamed.intersection(used))

    def _payload(self, named: Sequence[bytes], puts: list[bytes], others: list[bytes], acks: list[bytes]) -> bytes:
        parts = [rec.name(int.from_bytes(key, "big"), self._names[key]) for key in named] if named else []
        parts += puts
        if others:
            parts += others
        if acks:
            parts.append(ACK_KIND)
            parts.append(ACK_KIND.join(acks))
        return b"".join(parts)

    def _append(self, payload: bytes, count: int, named: Sequence[bytes]) -> None:
        """Write a frame of ``count`` records, which names these queues, into the current segment."""
        self._current.append(self._wall_ns(), self._durable, count, payload)
        self.needs_sync = True
        if named:
            self._unnamed.difference_update(named)

    def _datasync(self) -> None:
        end = self._current.end
        self._current.sync()
        self.syncs += 1
        self._durable = position(self._current.number, end)
        self.needs_sync = self._current.end != end

    def _rotate(self) -> None:
        full = self._current
        full.finish()
        first_id = int.from_bytes(self._last_id, "big") + 1
        self._current = Segment(
            self.directory, full.number + 1, self._segment_size, self._wall_ns(), first_id, full.end
        )
        full.close()
        self._segments[-1].size = full.end
        self._unnamed.update(self._names)  # in place: open_queue may be adding to it meanwhile
        self._durable = position(self._current.number, self._current.end)

    # -- what lives in which segment ------------------------------------------

    def _add_current(self) -> None:
        segment = self._current
        first_id = int.from_bytes(self._last_id, "big") + 1
        self._segments.append(OldSegment(segment.number, segment.path, first_id, segment.end))
        self._firsts = [old.first_id.to_bytes(8, "big") for old in self._segments]

    def _account(self, puts: list[bytes], others: list[bytes], acks: list[bytes]) -> None:
        """The frame of these records is in the current segment."""
        self.frames += 1
        if self._segments[-1].number != self._current.number:
            self._add_current()
        current = self._segments[-1]
        if puts:
            current.live += len(puts)
            self._last_id = puts[-1][ID_FIELD]
        for record in others:
            if record[0] == REWRITE:
                item_id = record[ID_FIELD]
                self._bury(item_id)
                self._rewritten[item_id] = current.number
                current.live += 1
        if len(self._segments) == 1 and not self._rewritten:
            current.live -= len(acks)  # all that lives is here, so what died lived here
        elif acks:
            for item_id in acks:
                self._bury(item_id)
            if self._segments[0].live == 0 and not self.needs_sync:
                self._remove_dead()

    def _bury(self, item_id: bytes) -> None:
        number = self._rewritten.pop(item_id, None)
        if number is None:
            self._segments[bisect_right(self._firsts, item_id) - 1].live -= 1
        else:
            self._segments[bisect_left(self._segments, number, key=attrgetter("number"))].live -= 1

    def _remove_dead(self) -> None:
        """Delete segments, oldest first, as long as nothing in them lives.

        A younger one stays behind an older, because its ACKs may speak of items there. Call it only
        when everything written is synced: a power failure must not take the frame that moved an item
        on (a rewrite, a swap) when the segment where it was before is gone already.
        """
        dead = 0
        while len(self._segments) - dead > 1 and self._segments[dead].live == 0:
            self._worker.submit(_Unlink(self._segments[dead].path))
            dead += 1
        if dead:
            del self._segments[:dead]
            del self._firsts[:dead]

    # -- figures ---------------------------------------------------------------

    def segment_count(self) -> int:
        """Segments on disk."""
        return len(self._segments)

    def disk_bytes(self) -> int:
        """Bytes used on disk, allocated ones of the current segment included."""
        return sum(old.size for old in self._segments[:-1]) + max(self._segment_size, self._current.end)


class _Unlink:
    """Removes a dead segment; a failure is logged and costs only disk space."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> None:
        try:
            self._path.unlink()
            sync_directory(self._path.parent)
            log.debug("segment %s has nothing live and is removed", self._path.name)
        except OSError as error:
            log.error("segment %s has nothing live and cannot be removed: %s", self._path, error)
