"""Replay of the journal at start.

Records are applied by item id, so neither the order of reservations nor a
record's place in a queue matters. Nothing but an index is kept: what lives is
told apart first, then the head of each living item is read once to see which
queue it belongs to; payloads stay on the disk until they are wanted.

Only the end of the last segment may be damaged without anybody's fault: a write
cut short by a kill or a power failure. That is cut off and logged. Damage
anywhere else means that the disk lost what it had confirmed, and stops the
start, because going on would lose items in silence.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.census import STEP, Census, RecoveredQueue, give_back
from redqueue.journal.index import Index, SegmentEntry
from redqueue.journal.record import ACK, DROP, FANOUT, HAS_EXPIRY, NAME, PUT, PUT_SIZE, REWRITE, WIPE, MalformedRecord

log = logging.getLogger(__name__)

_PUT_FIELDS = Struct(">xB6xQ12xI")
_ACK_FIELDS = Struct(">xQ")
_ID_FIELD = Struct(">Q")


class JournalDamaged(Exception):
    """The journal is damaged where no crash can have damaged it; the message says what to do."""


@dataclass
class Recovered:
    """What the journal holds.

    :ivar queues: by name
    :ivar names: the name of each queue number (6 bytes) that a living item has or came from
    :ivar origins: those of them that dead letters came from
    :ivar index: where the items stand
    :ivar live_bytes: of the records of all living items
    :ivar records: how many were read
    :ivar damaged: whether damage was skipped (``salvage``)
    """

    queues: dict[bytes, RecoveredQueue] = field(default_factory=dict)
    names: dict[bytes, bytes] = field(default_factory=dict)
    origins: set[bytes] = field(default_factory=set)
    index: Index = field(default_factory=Index)
    live_bytes: int = 0
    last_id: int = 0
    last_queue: int = 0
    next_segment: int = 1
    records: int = 0
    damaged: bool = False

    @property
    def live_items(self) -> int:
        """Items in all queues."""
        return sum(map(len, self.queues.values()))


class Recovery:
    """One replay of the journal in ``directory``.

    :param now: the wall clock, nanoseconds: items whose TTL has passed by then are dropped; 0 for none
    :param salvage: skip damage instead of stopping at it, and log what it cost
    :param progress: called with (bytes read, bytes in all) after every frame
    """

    def __init__(
        self,
        directory: Path,
        *,
        now: int = 0,
        salvage: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._directory = directory
        self._now = now
        self._salvage = salvage
        self._progress = progress
        self._index = Index()
        self._names: dict[bytes, bytes] = {}
        self._drops: dict[bytes, tuple[int, int]] = {}
        self._wipe = (0, 0)
        self._last_id = 0
        self._records = 0
        self._read = 0
        self._total = 0
        self._damaged = False

    def run(self) -> Recovered:
        """Read every segment, cut a torn tail, and return what is there.

        :raises JournalDamaged: at damage that no crash explains
        """
        found = seg.list_segments(self._directory)
        self._total = sum(path.stat().st_size for _, path in found)
        last = None
        for i, (number, path) in enumerate(found):
            if i and number != found[i - 1][0] + 1:
                self._damage(
                    f"segments {found[i - 1][0] + 1} to {number - 1} of the journal {self._directory} are missing",
                    "put the files back from a backup",
                )
            following = found[i + 1] if i + 1 < len(found) and found[i + 1][0] == number + 1 else None
            if self._replay(number, path, following, is_last=i == len(found) - 1):
                last = number
        return self._result(last + 1 if last is not None else 1)

    def _damage(self, what: str, remedy: str) -> None:
        if not self._salvage:
            raise JournalDamaged(
                f"{what}. Items would be lost in silence, so the server does not start. Either {remedy}, or start "
                f"once with --salvage, which skips the damage and logs what it cost. Copy the directory first."
            )
        self._damaged = True
        log.error("salvage: %s", what)

    # -- one segment --------------------------------------------------------

    def _replay(self, number: int, path: Path, following: tuple[int, Path] | None, is_last: bool) -> bool:
        """Apply a segment; returns False where it holds nothing and has been removed."""
        size = path.stat().st_size
        if size == 0:
            self._unused(number, path, is_last)
            return False
        with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
            header = seg.decode_header(content[: seg.HEADER_SIZE])
            start = seg.HEADER_SIZE
            if header is None and is_last and _is_zero(content, seg.HEADER_SIZE, size):
                self._unused(number, path, is_last)
                return False
            if header is None or header.number != number:
                self._damage(f"the header of {path} is damaged", f"put {path.name} back from a backup")
                header = seg.Header(number, 0, self._last_id + 1, 0)  # as good as any
                start = 0
            self._last_id = max(self._last_id, header.first_id - 1)
            entry = SegmentEntry(number, path, header.first_id, size)
            self._index.add_segment(entry)
            next_header = self._header_of(following)
            counted = size
            if next_header is not None and next_header.previous_failed:
                counted = min(size, next_header.previous_end)  # the next segment has what was confirmed behind that
            with memoryview(content) as whole, whole[:counted] as view:
                end = self._replay_frames(content, view, entry, start, is_last)
            if next_header is not None and end != next_header.previous_end:
                self._damage(
                    f"{path} is {end} bytes long and was {next_header.previous_end}",
                    f"put {path.name} back from a backup",
                )
            is_torn = not _is_zero(content, end, size)
        if is_torn:
            log.warning("torn tail: %s is cut at offset %d, dropping %d bytes after it", path, end, size - end)
        if end < size or is_last:
            _truncate(path, end)  # which syncs it, too: the next segment is made only after that
        entry.size = end
        self._read += size
        self._report(0)
        return True

    @staticmethod
    def _header_of(segment: tuple[int, Path] | None) -> seg.Header | None:
        """The header of a segment that has not been replayed yet; None where there is none, or no good one."""
        if segment is None:
            return None
        number, path = segment
        with path.open("rb") as file:
            header = seg.decode_header(file.read(seg.HEADER_SIZE))
        return header if header is not None and header.number == number else None

    def _unused(self, number: int, path: Path, is_last: bool) -> None:
        if not is_last:
            self._damage(f"{path} is empty", f"put {path.name} back from a backup")
        log.warning("torn tail: %s has no header, the server stopped while making it; it is removed", path)
        os.unlink(path)
        seg.sync_directory(self._directory)

    def _replay_frames(
        self, content: mmap.mmap, view: memoryview, entry: SegmentEntry, offset: int, is_last: bool
    ) -> int:
        """Apply the frames from ``offset`` on; returns where the good part ends."""
        number, path = entry.number, entry.path
        given_back = 0
        while True:
            frame = framing.decode_frame(view, number, offset)
            if frame is None:
                if offset == len(view):
                    return offset
                later = framing.find_frame(content, view, number, offset)
                if is_last and self._is_torn(content, view, number, offset, later):
                    return offset
                self._damage(
                    f"{path} is damaged at offset {offset}"
                    + (f"; the next good frame is at {later.offset}" if later else ", up to its end"),
                    f"put {path.name} back from a backup",
                )
                if later is None:
                    return offset
                before = self._last_id
                frame = later
                self._apply_checked(frame, entry)
                log.error(
                    "salvage: %d bytes of %s skipped at offset %d; items with ids from %d on may be missing there, "
                    "and acknowledged items may come back",
                    later.offset - offset,
                    path,
                    offset,
                    before + 1,
                )
            else:
                self._apply_checked(frame, entry)
            offset = frame.end
            if offset - given_back > STEP:
                given_back = give_back(content, given_back, offset)
            self._report(offset)

    def _is_torn(
        self, content: mmap.mmap, view: memoryview, number: int, offset: int, later: framing.Frame | None
    ) -> bool:
        """Whether a crash explains that the last segment has no good frame at ``offset``, and ``later`` is the next."""
        # A power failure may lose an earlier unsynced write and keep a later one,
        # but nothing that was on the disk before the later frame was written.
        while later:
            if later.durable > seg.position(number, offset):
                return False
            later = framing.find_frame(content, view, number, later.end)
        return True

    def _report(self, offset: int) -> None:
        if self._progress is not None:
            self._progress(self._read + offset, self._total)

    # -- records ------------------------------------------------------------

    def _apply_checked(self, frame: framing.Frame, entry: SegmentEntry) -> None:
        try:
            self._apply(frame.payload, entry, frame.offset + framing.FRAME_SIZE)
        except (MalformedRecord, IndexError, struct.error) as error:
            self._damage(
                f"the frame at offset {frame.offset} of {entry.path} has a good checksum and makes no sense ({error})",
                f"put {entry.path.name} back from a backup, or use the version of RedQueue that wrote it",
            )
        self._records += frame.records

    def _apply(self, payload: bytes, entry: SegmentEntry, base: int) -> None:
        """Apply the records of a frame, whose payload stands at ``base`` of the segment."""
        put_fields = _PUT_FIELDS.unpack_from
        index = self._index
        offsets = entry.offsets
        next_id = entry.first_id + len(offsets)
        last_id = self._last_id
        at, end = 0, len(payload)
        while at < end:
            kind = payload[at]
            if kind == PUT:
                attributes, item_id, size = put_fields(payload, at)
                stop = at + PUT_SIZE + size
                if attributes:
                    stop += 8 * attributes.bit_count()
                if stop > end:
                    raise MalformedRecord("a PUT record is longer than its frame")
                if item_id == next_id:
                    offsets.append(base + at)
                    next_id += 1
                else:
                    index.add(entry, item_id, base + at)
                    next_id = entry.first_id + len(offsets)
                if item_id > last_id:
                    last_id = item_id
                at = stop
            elif kind == ACK:
                at = self._apply_acks(payload, at)
            elif kind in (REWRITE, FANOUT):
                stop = at + rec.stored_size(payload, at)
                if stop > end:
                    raise MalformedRecord("a REWRITE record is longer than its frame")
                item_id = put_fields(payload, at)[1]
                if kind == REWRITE:
                    index.move(item_id, entry, base + at)
                else:
                    for i in range(len(rec.fan_out_queues(payload[at:stop]))):
                        index.add(entry, item_id + i, base + at)
                        last_id = max(last_id, item_id + i)
                    next_id = entry.first_id + len(offsets)
                at = stop
            elif kind == NAME:
                stop = at + rec.NAME_HEAD.size + payload[at + 1]
                self._names[payload[at + 2 : at + 8]] = payload[at + rec.NAME_HEAD.size : stop]
                at = stop
            elif kind == DROP:
                queue = payload[at + 2 : at + 8]
                name = self._names.get(queue, queue)
                self._drops[name] = (_ID_FIELD.unpack_from(payload, at + 8)[0], seg.position(entry.number, base + at))
                at += rec.DROP_RECORD.size
            elif kind == WIPE:
                self._wipe = (_ACK_FIELDS.unpack_from(payload, at)[0], seg.position(entry.number, base + at))
                at += rec.WIPE_RECORD.size
            else:
                raise MalformedRecord(f"a record of kind {kind}, which this version does not know")
        if at != end:
            raise MalformedRecord("the last record is longer than its frame")
        self._last_id = last_id

    def _apply_acks(self, payload: bytes, at: int) -> int:
        """Apply the ACK at ``at`` and those behind it; returns where they end."""
        index = self._index
        rest = payload[at::9]
        if rest.count(rec.ACK_KIND) == len(rest) and len(rest) * 9 == len(payload) - at:
            # Mostly they come from one segment; what lives in it is counted at the end.
            moved, offsets, ids = bool(index.moved), array("I"), range(0)
            for (item_id,) in _ACK_FIELDS.iter_unpack(payload[at:]):
                if item_id in ids and not moved:
                    offsets[item_id - ids.start] = 0
                    continue
                index.bury(item_id)
                if home := index.native(item_id):
                    offsets, ids = home.offsets, range(home.first_id, home.first_id + len(home.offsets))
            return len(payload)
        index.bury(_ACK_FIELDS.unpack_from(payload, at)[0])
        return at + rec.ACK_RECORD.size

    # -- the sum ------------------------------------------------------------

    def _result(self, next_segment: int) -> Recovered:
        index = self._index
        result = Recovered(next_segment=next_segment, records=self._records, index=index)
        # With salvage an item may have outlived its PUT, by a REWRITE or as part of a frame that makes no sense.
        result.last_id = max(self._last_id, index.highest_id()) if self._salvage else self._last_id
        census = Census(index, self._names, self._is_dead, bool(self._wipe[0] or self._drops))
        for name, queue in census.take(lambda: self._report(0)).items():
            if self._names.get(queue.number) is None:
                self._damage(
                    f"{len(queue)} items belong to a queue whose name is lost (they would go to {name.decode()})",
                    "put the journal back from a backup",
                )
            result.queues[name] = queue
            result.live_bytes += queue.stored
        result.names, result.origins = census.names, census.origins
        if self._names:
            result.last_queue = int.from_bytes(max(self._names), "big")
        result.names = self._names
        result.damaged = self._damaged
        return result

    def _is_dead(self, item_id: int, position: int, name: bytes, head: bytes) -> bool:
        """Whether an item was dropped after its record was written, or its TTL has passed."""
        below, dropped_at = self._wipe
        if item_id < below and position < dropped_at:
            return True
        if self._drops:
            below, dropped_at = self._drops.get(name, (0, 0))
            if item_id < below and position < dropped_at:
                return True
        return bool(head[1] & HAS_EXPIRY) and rec.expires(head) <= self._now


def _is_zero(content: mmap.mmap, offset: int, end: int) -> bool:
    """Whether nothing but zeros stands from ``offset`` to ``end``: space that was allocated and never used."""
    step = 1 << 20
    for at in range(offset, end, step):
        if content[at : min(end, at + step)].strip(b"\0"):
            return False
        give_back(content, at, at + step)
    return True


def _truncate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
