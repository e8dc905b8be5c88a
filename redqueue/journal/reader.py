"""A journal read from outside, by the tools: nothing is changed, and a server may be using it.

The segments are opened all at once, so that one which the server removes
meanwhile can still be read: what is read is the journal as it was at some moment
after that. Files are read and not mapped, because the server cuts a segment when
it is full, and a mapping of what was cut off would kill the reader.

What :meth:`JournalFiles.scan` calls damage is what stops a start of the server
(docs/journal-format.md, "Reading it"); the tests hold both against each other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from redqueue.journal import framing
from redqueue.journal import segment as seg
from redqueue.journal.framing import FRAME_SIZE, Frame
from redqueue.journal.segment import HEADER_SIZE, Header

WINDOW = 1 << 20
"""Bytes read at a time."""
PAGE = 4096
"""What a disk that fails to read is asked for piece by piece."""

TORN = "torn tail"
"""The end of the last segment, as a crash leaves it: the next start of the server cuts it off."""
UNFINISHED = "unfinished segment"
"""A last segment that was being made: the next start of the server removes it."""
DAMAGE = "damage"
"""Bytes that are no good frame, where no crash explains it."""
HEADER = "damaged header"
WRONG_LENGTH = "wrong length"
"""A segment is not as long as the next one's header says."""
MISSING = "missing segments"
SENSELESS = "senseless frame"
"""A frame with a good checksum whose records make no sense."""
UNREADABLE = "unreadable"
"""The disk gives an error for this part of a file."""
NAME_LOST = "lost name"
"""The record that names the queue of an item is gone."""
_EXPLAINED = (TORN, UNFINISHED)


class NoJournal(Exception):
    """A directory that cannot be read as a journal; the message says why."""


@dataclass(frozen=True)
class Finding:
    """Something in a journal that is not as it should be.

    :ivar kind: one of the constants of this module
    :ivar segment: number of the segment, or of the first missing one
    :ivar offset: where it begins
    :ivar end: where it ends
    :ivar text: what it is, in words
    :ivar last_segment: number of the last missing segment; else ``segment``
    """

    kind: str
    segment: int
    offset: int
    end: int
    text: str
    last_segment: int

    @property
    def is_damage(self) -> bool:
        """Whether the server would not start, because no crash explains it."""
        return self.kind not in _EXPLAINED


Found = Frame | Finding


class SegmentFile:
    """An open segment.

    :ivar unreadable: the pages that the disk did not give, as (offset, end); zeros stand for them
    """

    def __init__(self, number: int, path: Path, fd: int) -> None:
        self.number = number
        self.path = path
        self.unreadable: list[tuple[int, int]] = []
        self._fd = fd
        self._base = 0
        self._data = b""
        self._header: Header | None = None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def size(self) -> int:
        """The length of the file at this moment."""
        return os.fstat(self._fd).st_size

    def header(self) -> Header | None:
        """Its header; None where that is damaged."""
        if self._header is None:
            header = seg.decode_header(self._pread(0, HEADER_SIZE))
            if header is not None and header.number == self.number:
                self._header = header
        return self._header

    def is_unfinished(self) -> bool:
        """Whether it has no header, not even that of another segment, and nothing behind it."""
        return seg.decode_header(self._pread(0, HEADER_SIZE)) is None and self.is_zero(HEADER_SIZE, self.size())

    def frame_at(self, offset: int, limit: int) -> Frame | None:
        """The frame at ``offset`` that ends by ``limit``; None where there is no good one."""
        length = framing.payload_length(self.read(offset, FRAME_SIZE))
        if length is None or offset + FRAME_SIZE + length > limit:
            return None
        self._cover(offset, FRAME_SIZE + length)
        return framing.decode_frame(memoryview(self._data), self.number, offset, self._base)

    def find_frame(self, offset: int, limit: int) -> Frame | None:
        """The first good frame at or after ``offset``; None where there is none up to ``limit``."""
        while offset + FRAME_SIZE <= limit:
            self._cover(offset, FRAME_SIZE)
            at = self._data.find(framing.FRAME_MAGIC_BYTES, offset - self._base)
            if at < 0:  # the magic may lie across the end of the window
                offset = max(offset + 1, self._base + len(self._data) - len(framing.FRAME_MAGIC_BYTES) + 1)
                continue
            offset = self._base + at
            frame = self.frame_at(offset, limit)
            if frame is not None:
                return frame
            offset += 1
        return None

    def is_zero(self, offset: int, end: int) -> bool:
        """Whether nothing but zeros stands from ``offset`` to ``end``."""
        return all(not self._pread(at, min(WINDOW, end - at)).strip(b"\0") for at in range(offset, end, WINDOW))

    def read(self, offset: int, length: int) -> bytes:
        """Bytes at ``offset``; fewer where the file ends."""
        self._cover(offset, length)
        at = offset - self._base
        return self._data[at : at + length]

    def drop_window(self) -> None:
        """Forget what was read: to read it again, or to give the memory back."""
        self._data = b""

    def _cover(self, offset: int, length: int) -> None:
        if not self._base <= offset <= offset + length <= self._base + len(self._data):
            self._data = b""
            self._data = self._pread(offset, max(length, WINDOW))
            self._base = offset

    def _pread(self, offset: int, length: int) -> bytes:
        try:
            return _pread_all(self._fd, offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        end = min(offset + length, self.size())
        pieces = []
        while offset < end:
            stop = min(end, offset - offset % PAGE + PAGE)
            try:
                pieces.append(_pread_all(self._fd, offset, stop - offset))
            except OSError:
                pieces.append(bytes(stop - offset))
                if (offset, stop) not in self.unreadable:
                    self.unreadable.append((offset, stop))
            offset = stop
        return b"".join(pieces)


class JournalFiles:
    """The journal in ``directory``, open for reading. Use as a context manager.

    :raises NoJournal: where there is none
    :raises OSError: where a file cannot be opened

    :ivar segments: oldest first
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._recent: SegmentFile | None = None
        _raise_file_limit()
        self.segments = self._open()
        self._by_number = {segment.number: segment for segment in self.segments}

    def __enter__(self) -> JournalFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for segment in self.segments:
            segment.close()

    def total_bytes(self) -> int:
        """The length of all segments together, at this moment."""
        return sum(segment.size() for segment in self.segments)

    def scan(
        self, *, past_torn: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[tuple[SegmentFile, Found]]:
        """Every good frame, and everything that is not as it should be, in order.

        Damage is skipped up to the next good frame.

        :param past_torn: read the good frames of a torn tail too, which the server would cut off
        :param progress: called with (bytes read, bytes in all) after every frame
        """
        total, done = self.total_bytes(), 0
        previous: SegmentFile | None = None
        for i, segment in enumerate(self.segments):
            following = self.segments[i + 1] if i + 1 < len(self.segments) else None
            if previous is not None and segment.number != previous.number + 1:
                yield segment, _missing(previous.number + 1, segment.number - 1, self.directory)
            for found in self._read(segment, following, past_torn):
                yield segment, found
                if progress is not None and isinstance(found, Frame):
                    progress(min(done + found.end, total), total)
            for offset, end in segment.unreadable:
                text = f"the disk cannot read {segment.path.name} from offset {offset} to {end}"
                yield segment, Finding(UNREADABLE, segment.number, offset, end, text, segment.number)
            done += segment.size()
            segment.drop_window()
            previous = segment

    def record(self, position: int, length: int) -> bytes:
        """The ``length`` bytes at a position (segment number << 32 | offset)."""
        segment = self._by_number[position >> 32]
        if self._recent is not segment:
            if self._recent is not None:
                self._recent.drop_window()
            self._recent = segment
        return segment.read(position & 0xFFFFFFFF, length)

    def _open(self) -> list[SegmentFile]:
        """Open what is there at one moment, in spite of a server that makes segments and removes them."""
        gaps: list[int] | None = None
        while True:
            try:
                found = seg.list_segments(self.directory)
                if not found and not (self.directory / "lock").exists():
                    raise NoJournal(f"{self.directory} is no journal: it holds no segment-*.rqj and no lock")
            except (FileNotFoundError, NotADirectoryError):
                raise NoJournal(f"{self.directory} is no directory") from None
            numbers = [number for number, _ in found]
            jumps = [a for a, b in pairwise(numbers) if b != a + 1]
            if jumps and jumps != gaps:  # the listing may have been overtaken; what is missing is so twice
                gaps = jumps
                continue
            opened: list[SegmentFile] = []
            try:
                for number, path in found:
                    opened.append(SegmentFile(number, path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
            except OSError as error:
                for segment in opened:
                    segment.close()
                if error.errno == errno.ENOENT:
                    continue
                raise
            return opened

    def _read(self, segment: SegmentFile, following: SegmentFile | None, past_torn: bool) -> Iterator[Found]:
        name = segment.path.name

        def finding(kind: str, offset: int, end: int, text: str) -> Finding:
            return Finding(kind, segment.number, offset, end, text, segment.number)

        def following_header() -> Header | None:
            return following.header() if following is not None and following.number == segment.number + 1 else None

        def limit() -> int:
            """Where its content ends: a server that went on after a failed write leaves something behind that."""
            header = following_header()
            if header is not None and header.previous_failed:
                return min(segment.size(), header.previous_end)
            return segment.size()

        is_last = following is None
        size = segment.size()
        if not size and not is_last:
            header = following_header()
            yield finding(WRONG_LENGTH, 0, header.previous_end if header else 0, f"{name} is empty")
            return
        if not size or (is_last and segment.is_unfinished()):
            yield finding(UNFINISHED, 0, size, f"{name} has no header: it was being made when the server ended")
            return
        offset = HEADER_SIZE
        if segment.header() is None:
            offset = 0
            yield finding(HEADER, 0, min(HEADER_SIZE, size), f"the header of {name} is damaged")
        while True:
            end = limit()
            frame = segment.frame_at(offset, end)
            if frame is None:
                segment.drop_window()  # it may be older than the file
                frame = segment.frame_at(offset, end)
            if frame is not None:
                yield frame
                offset = frame.end
                continue
            if offset >= end or (is_last and segment.is_zero(offset, end)):
                break
            later = segment.find_frame(offset, end)
            segment.drop_window()
            if segment.frame_at(offset, limit()) is not None:
                continue  # the server was just writing it
            if is_last and self._is_torn(segment, offset, end, later):
                upto = later.offset if later is not None and past_torn else end
                yield finding(
                    TORN, offset, upto, f"{name} has a torn tail at offset {offset}, {upto - offset} bytes long"
                )
                if not past_torn:
                    break
            else:
                upto = later.offset if later is not None else end
                text = f"{name} is damaged from offset {offset} to {upto}"
                yield finding(DAMAGE, offset, upto, text + ("" if later else ", its end"))
            if later is None:
                break
            offset = later.offset
        header, size = following_header(), limit()
        if header is not None and size != header.previous_end:
            text = f"{name} is {size} bytes long and was {header.previous_end}"
            yield finding(WRONG_LENGTH, min(size, header.previous_end), max(size, header.previous_end), text)

    @staticmethod
    def _is_torn(segment: SegmentFile, offset: int, end: int, later: Frame | None) -> bool:
        """Whether a crash explains that the last segment has no good frame at ``offset``, and ``later`` is the next."""
        while later is not None:
            if later.durable > seg.position(segment.number, offset):
                return False
            later = segment.find_frame(later.end, end)
        return True


def _missing(first: int, last: int, directory: Path) -> Finding:
    what = f"segment {first} is missing" if first == last else f"segments {first} to {last} are missing"
    return Finding(MISSING, first, 0, 0, f"{what} in {directory}", last)


def server_of(directory: Path) -> int | None:
    """The process that uses the journal, as far as can be seen without taking its lock, if only for a moment."""
    path = directory / "lock"
    with contextlib.suppress(OSError, ValueError):
        pid, inode = int(path.read_text()), path.stat().st_ino
        try:
            locks = Path("/proc/locks").read_text()
        except OSError:  # elsewhere than on Linux
            os.kill(pid, 0)
            return pid
        for fields in map(str.split, locks.splitlines()):
            if "FLOCK" in fields and str(pid) in fields and any(field.endswith(f":{inode}") for field in fields):
                return pid
    return None


def _pread_all(fd: int, offset: int, length: int) -> bytes:
    data = os.pread(fd, length, offset)
    if not data or len(data) == length:
        return data
    pieces = [data]
    done = len(data)
    while done < length and (data := os.pread(fd, length - done, offset + done)):
        pieces.append(data)
        done += len(data)
    return b"".join(pieces)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
