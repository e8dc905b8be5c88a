"""Replay of the journal at start.

Records are applied by item id, so neither the order of reservations nor a
record's place in a queue matters. Only the end of the last segment may be
damaged without anybody's fault: a write cut short by a kill or a power failure.
That is cut off and logged. Damage anywhere else means that the disk lost what
it had confirmed, and stops the start, because going on would lose items in
silence.
"""

from __future__ import annotations

import logging
import mmap
import os
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from struct import Struct

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.record import (
    ACK,
    DROP,
    ID_FIELD,
    NAME,
    PUT,
    PUT_SIZE,
    QUEUE_FIELD,
    REWRITE,
    WIPE,
    MalformedRecord,
)

log = logging.getLogger(__name__)

_ITEMS = (PUT, REWRITE)
_SIZE = Struct(">I")
_ID_OF = itemgetter(ID_FIELD)


class JournalDamaged(Exception):
    """The journal is damaged where no crash can have damaged it; the message says what to do."""


@dataclass
class OldSegment:
    """A segment of an earlier run.

    :ivar live: items whose PUT stands in it and that are not gone
    """

    number: int
    path: Path
    first_id: int
    size: int
    live: int = 0


@dataclass
class Recovered:
    """What the journal holds.

    :ivar queues: the PUT records of each queue, in the order of their places
    :ivar names: the name that each number of a queue (6 bytes) stands for
    :ivar rewritten: the segment of each item whose last PUT is not in the
        segment where its id was first used
    :ivar damaged: whether damage was skipped (``salvage``)
    """

    queues: dict[bytes, list[bytes]] = field(default_factory=dict)
    names: dict[bytes, bytes] = field(default_factory=dict)
    segments: list[OldSegment] = field(default_factory=list)
    rewritten: dict[bytes, int] = field(default_factory=dict)
    last_id: int = 0
    last_queue: int = 0
    next_segment: int = 1
    records: int = 0
    damaged: bool = False


class Recovery:
    """One replay of the journal in ``directory``.

    :param salvage: skip damage instead of stopping at it, and log what it cost
    :param progress: called with (bytes read, bytes in all) after every frame
    """

    def __init__(
        self, directory: Path, *, salvage: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._directory = directory
        self._salvage = salvage
        self._progress = progress
        self._items: dict[bytes, bytes] = {}
        self._names: dict[bytes, bytes] = {}
        self._rewritten: dict[bytes, int] = {}
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
        segments: list[OldSegment] = []
        for i, (number, path) in enumerate(found):
            if i and number != found[i - 1][0] + 1:
                self._damage(
                    f"segments {found[i - 1][0] + 1} to {number - 1} of the journal {self._directory} are missing",
                    "put the files back from a backup",
                )
            before = segments[-1] if segments and segments[-1].number == number - 1 else None
            old = self._replay(number, path, before, is_last=i == len(found) - 1)
            if old is not None:
                segments.append(old)
        return self._result(segments, segments[-1].number + 1 if segments else 1)

    def _damage(self, what: str, remedy: str) -> None:
        if not self._salvage:
            raise JournalDamaged(
                f"{what}. Items would be lost in silence, so the server does not start. Either {remedy}, or start "
                f"once with --salvage, which skips the damage and logs what it cost. Copy the directory first."
            )
        self._damaged = True
        log.error("salvage: %s", what)

    # -- one segment --------------------------------------------------------

    def _replay(self, number: int, path: Path, before: OldSegment | None, is_last: bool) -> OldSegment | None:
        size = path.stat().st_size
        if size == 0:
            self._unused(number, path, is_last)
            return None
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            with memoryview(content) as view:
                header = seg.decode_header(content[: seg.HEADER_SIZE])
                if header is None or header.number != number:
                    if is_last and header is None and _is_zero(content, seg.HEADER_SIZE):
                        self._unused(number, path, is_last)
                        return None
                    self._damage(f"the header of {path} is damaged", f"put {path.name} back from a backup")
                    first_id, end = self._last_id + 1, 0
                else:
                    first_id, end = header.first_id, seg.HEADER_SIZE
                    self._last_id = max(self._last_id, first_id - 1)
                    if before is not None and before.size != header.previous_end:
                        self._damage(
                            f"{before.path} is {before.size} bytes long and was {header.previous_end}",
                            f"put {before.path.name} back from a backup",
                        )
                end = self._replay_frames(content, view, number, path, end, is_last)
            is_torn = not _is_zero(content, end)
        if is_torn:
            log.warning("torn tail: %s is cut at offset %d, dropping %d bytes after it", path, end, size - end)
        if end < size or is_last:
            _truncate(path, end)  # which syncs it, too: the next segment is made only after that
        self._read += size
        self._report(0)
        return OldSegment(number, path, first_id, end)

    def _unused(self, number: int, path: Path, is_last: bool) -> None:
        if not is_last:
            self._damage(f"{path} is empty", f"put {path.name} back from a backup")
        log.warning("torn tail: %s has no header, the server stopped while making it; it is removed", path)
        path.unlink()
        seg.sync_directory(self._directory)

    def _replay_frames(
        self, content: mmap.mmap, view: memoryview, number: int, path: Path, offset: int, is_last: bool
    ) -> int:
        """Apply the frames from ``offset`` on; returns where the good part ends."""
        while True:
            frame = seg.decode_frame(view, number, offset)
            if frame is None:
                if offset == len(content):
                    return offset
                later = seg.find_frame(content, view, number, offset)
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
                self._apply_checked(frame, number, path)
                log.error(
                    "salvage: %d bytes of %s skipped at offset %d; items with ids from %d on may be missing there, "
                    "and acknowledged items may come back",
                    later.offset - offset,
                    path,
                    offset,
                    before + 1,
                )
            else:
                self._apply_checked(frame, number, path)
            offset = frame.end
            self._report(offset)

    def _is_torn(self, content: mmap.mmap, view: memoryview, number: int, offset: int, later: seg.Frame | None) -> bool:
        """Whether a crash explains that the last segment has no good frame at ``offset``, and ``later`` is the next."""
        # A power failure may lose an earlier unsynced write and keep a later one,
        # but nothing that was on the disk before the later frame was written.
        while later:
            if later.durable > seg.position(number, offset):
                return False
            later = seg.find_frame(content, view, number, later.end)
        return True

    def _report(self, offset: int) -> None:
        if self._progress is not None:
            self._progress(self._read + offset, self._total)

    # -- records ------------------------------------------------------------

    def _apply_checked(self, frame: seg.Frame, number: int, path: Path) -> None:
        try:
            self._apply(frame.payload, number)
        except (MalformedRecord, IndexError) as error:
            self._damage(
                f"the frame at offset {frame.offset} of {path} has a good checksum and makes no sense ({error})",
                f"put {path.name} back from a backup, or use the version of RedQueue that wrote it",
            )
        self._records += frame.records

    def _apply(self, payload: bytes, number: int) -> None:
        items = self._items
        size_at = _SIZE.unpack_from
        last = self._last_id.to_bytes(8, "big")
        at, end = 0, len(payload)
        while at < end:
            kind = payload[at]
            if kind in _ITEMS:
                if at + PUT_SIZE > end:
                    raise MalformedRecord("a PUT record is longer than its frame")
                stop = at + PUT_SIZE + size_at(payload, at + 28)[0]
                attributes = payload[at + 1]
                if attributes:
                    stop += 8 * attributes.bit_count()
                if stop > end:
                    raise MalformedRecord("a PUT record is longer than its frame")
                record = payload[at:stop]
                item_id = record[ID_FIELD]
                if kind == PUT:
                    last = item_id
                else:
                    self._rewritten[item_id] = number
                items[item_id] = record
                at = stop
            elif kind == ACK:
                items.pop(payload[at + 1 : at + 9], None)
                at += 9
            elif kind == NAME:
                stop = at + rec.NAME_HEAD.size + payload[at + 1]
                self._names[payload[at + 2 : at + 8]] = payload[at + rec.NAME_HEAD.size : stop]
                at = stop
            elif kind == DROP:
                numbers, below = self._namesakes(payload[at + 2 : at + 8]), payload[at + 8 : at + 16]
                for item_id in [i for i, r in items.items() if i < below and r[QUEUE_FIELD] in numbers]:
                    del items[item_id]
                at += rec.DROP_RECORD.size
            elif kind == WIPE:
                below = payload[at + 1 : at + 9]
                for item_id in [i for i in items if i < below]:
                    del items[item_id]
                at += rec.WIPE_RECORD.size
            else:
                raise MalformedRecord(f"a record of kind {kind}, which this version does not know")
        if at != end:
            raise MalformedRecord("the last record is longer than its frame")
        self._last_id = int.from_bytes(last, "big")

    def _namesakes(self, queue: bytes) -> set[bytes]:
        """The numbers that have stood for the same queue: each run of the server has its own."""
        name = self._names.get(queue)
        return {queue, *(number for number, text in self._names.items() if text == name)}

    # -- the sum ------------------------------------------------------------

    def _count_live(self, segments: list[OldSegment], rewritten: dict[bytes, int]) -> None:
        """Count the items of each segment: those first put there, as their ids tell, and those rewritten there."""
        ids = (
            sorted(item_id for item_id in self._items if item_id not in rewritten) if rewritten else sorted(self._items)
        )
        start = 0
        for i, old in enumerate(segments):
            end = len(ids)
            if i + 1 < len(segments):
                end = bisect_left(ids, segments[i + 1].first_id.to_bytes(8, "big"))
            old.live = end - start
            start = end
        by_number = {old.number: old for old in segments}
        for number in rewritten.values():
            by_number[number].live += 1

    def _result(self, segments: list[OldSegment], next_segment: int) -> Recovered:
        last_id = self._last_id
        if self._salvage:  # an item may have outlived its PUT, by a REWRITE or as part of a frame that makes no sense
            last_id = max(last_id, int.from_bytes(max(self._items, default=b""), "big"))
        result = Recovered(last_id=last_id, next_segment=next_segment, records=self._records, segments=segments)
        result.rewritten = {i: number for i, number in self._rewritten.items() if i in self._items}
        self._count_live(segments, result.rewritten)
        groups: dict[bytes, list[bytes]] = {}
        for record in self._items.values():
            groups.setdefault(record[QUEUE_FIELD], []).append(record)
        for number_bytes, records in groups.items():
            name = self._names.get(number_bytes)
            if name is None:
                name = b"lost-name-%d" % int.from_bytes(number_bytes, "big")
                self._damage(
                    f"{len(records)} items belong to a queue whose name is lost (they would go to {name.decode()})",
                    "put the journal back from a backup",
                )
            result.queues.setdefault(name, []).extend(records)
        for records in result.queues.values():
            records.sort(key=_ID_OF)
            if any(record[1] & rec.HAS_PLACE for record in records):
                records.sort(key=rec.place)
        if self._names:
            result.last_queue = int.from_bytes(max(self._names), "big")
        result.names = self._names
        result.damaged = self._damaged
        return result


def _is_zero(content: mmap.mmap, offset: int) -> bool:
    """Whether nothing but zeros stands from ``offset`` on: space that was allocated and never used."""
    step = 1 << 20
    return all(not content[at : at + step].strip(b"\0") for at in range(offset, len(content), step))


def _truncate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
