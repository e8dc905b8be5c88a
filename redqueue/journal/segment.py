"""Segment files: their names, headers and frames.

A segment is a file of fixed size, allocated when it is made, so that appending
changes no metadata and a full disk shows when a segment begins, not in the
middle of a frame. It starts with a header::

    magic "RedQueue", version u16, header size u16, segment number u64,
    time u64 (nanoseconds), first id u64, previous end u64, CRC-32 u32 of all before

``first id`` is one more than the highest id of any PUT in earlier segments,
``previous end`` the length of the segment before, 0 for the first of all. Its
highest bit says that the segment before had failed: what is in that file behind
the length does not count.
Frames follow one another up to the first whose magic is wrong. A frame is what
one tick of the server wrote, and counts as a whole or not at all::

    magic u32, CRC-32 u32, payload length u32, records u32, time u64,
    durable u64, then the records (redqueue.journal.record)

The checksum covers the segment number (u64), the offset of the frame (u64), and
everything after itself, so that a frame that turns up at
another place (a block written twice, swapped, or left over) is not taken for a
good one. ``durable`` is the position (segment number << 32 | offset) up to which
the journal was known to be on the disk when the frame was written: no power
failure may have damaged anything before it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable
from os import pwrite
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from redqueue.journal.framing import FRAME_SIZE, encode_frame

MAGIC = b"RedQueue"
VERSION = 1
_HEADER = Struct(">8sHHQQQQ")
_CRC = Struct(">I")
HEADER_SIZE = _HEADER.size + _CRC.size

_NAME = re.compile(r"segment-(\d{10,})\.rqj")


class Header(NamedTuple):
    """The header of a segment."""

    number: int
    time: int
    first_id: int
    previous_end: int
    previous_failed: bool = False


def path_of(directory: Path, number: int) -> Path:
    """The path of a segment."""
    return directory / f"segment-{number:010d}.rqj"


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """Number and path of every segment in ``directory``, oldest first."""
    found = []
    for entry in directory.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry))
    return sorted(found)


def position(number: int, offset: int) -> int:
    """One number for a place in the journal; later places are greater."""
    return number << 32 | offset


def encode_header(number: int, time: int, first_id: int, previous_end: int, previous_failed: bool = False) -> bytes:
    """The bytes of a segment header."""
    end = previous_end | previous_failed << 63
    head = _HEADER.pack(MAGIC, VERSION, HEADER_SIZE, number, time, first_id, end)
    return head + _CRC.pack(crc32(head))


def decode_header(data: bytes) -> Header | None:
    """The header at the start of ``data``; None where it is damaged or of no version known here."""
    if len(data) < HEADER_SIZE:
        return None
    magic, version, size, number, time, first_id, previous_end = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or size != HEADER_SIZE:
        return None
    if _CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        return None
    return Header(number, time, first_id, previous_end & ~(1 << 63), bool(previous_end >> 63))


def sync_directory(directory: Path) -> None:
    """Make the names of new, renamed and removed files durable (fsync(2): the directory needs its own)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


SPARE = "spare"
"""The name of a file whose space has been allocated and that is not a segment yet."""


def allocate_spare(directory: Path, size: int) -> int:
    """Make the file :data:`SPARE` with ``size`` bytes allocated; returns its descriptor.

    :raises OSError: where that fails; no file is left behind
    """
    path = directory / SPARE
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # never written to: a crash may have left it as a second name of a segment
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        _allocate(fd, size)
    except OSError as error:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path)
        error.filename = str(path)
        raise
    return fd


def give_back(spare: int) -> None:
    """Close a spare file that is not needed."""
    os.close(spare)


class Segment:
    """The segment that is being appended to.

    :ivar size: bytes allocated
    :ivar end: offset at which the next frame goes
    """

    def __init__(self, directory: Path, fd: int, header: Header) -> None:
        """Make a segment of the spare file: it takes frames, but is none of the journal's before :meth:`publish`.

        :param fd: as :func:`allocate_spare` gives it; it is the segment's from here on
        :raises OSError: where its header cannot be written; no file is left behind
        """
        self.number = header.number
        self.path = path_of(directory, header.number)
        self.fd = fd
        status = os.fstat(fd)
        self.size = status.st_size
        self._identity = (status.st_dev, status.st_ino)
        self.end = HEADER_SIZE
        try:
            _write_all(fd, encode_header(*header), 0)
        except OSError:
            self.discard()
            raise

    def publish(self) -> None:
        """Sync the file, give it its name, and sync the directory.

        :raises OSError: where that fails; no file is left behind
        """
        path = spare = self.path.parent / SPARE
        try:
            _sync(os.fsync, self.fd)
            os.link(spare, self.path)  # unlike a renaming this never replaces a segment
            os.unlink(spare)
            path = self.path
            sync_directory(self.path.parent)
        except OSError:
            self.discard(path)
            raise

    def discard(self, path: Path | None = None) -> None:
        """Close and remove a segment that is not published, or could not be."""
        os.close(self.fd)
        with contextlib.suppress(OSError):
            os.unlink(path or self.path.parent / SPARE)

    def has_room(self, length: int, reserve: int = 0) -> bool:
        """Whether a frame of ``length`` payload bytes goes here and leaves ``reserve`` bytes free."""
        return self.end + FRAME_SIZE + length + reserve <= self.size

    def append(self, time: int, durable: int, count: int, payload: bytes) -> None:
        """Write a frame; after an OSError the segment is as before."""
        end = self.end
        data = encode_frame(self.number, end, time, durable, count, payload)
        if pwrite(self.fd, data, end) != len(data):
            _write_all(self.fd, data, end)
        self.end = end + len(data)

    def sync(self) -> None:
        """fdatasync: what was appended survives a power failure.

        :raises OSError: EIO where that fails, whatever the kernel says; ENOENT as for :meth:`check_place`
        """
        _sync(_datasync, self.fd)
        self.check_place()

    def check_place(self) -> None:
        """See whether a start would find the file where it was made.

        :raises FileNotFoundError: where it would not
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise FileNotFoundError(
                errno.ENOENT, "the journal's directory or file has been removed or renamed: put it back", str(self.path)
            )

    def finish(self) -> None:
        """Sync, and give unused space back. The file stays open, and still takes frames.

        :raises OSError: where that fails
        """
        self.sync()
        os.ftruncate(self.fd, self.end)
        _sync(os.fsync, self.fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def cut(self, end: int) -> None:
        """Cut the file, which may be closed, at offset ``end``; that it stays longer does no harm."""
        with contextlib.suppress(OSError):
            os.truncate(self.path, end)


_datasync = getattr(os, "fdatasync", os.fsync)


def _sync(how: Callable[[int], None], fd: int) -> None:
    try:
        how(fd)
    except OSError as error:
        # The kernel may have dropped the pages: unlike a write that found the disk full, this cannot be tried again.
        raise OSError(errno.EIO, f"sync failed: {error}") from error


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    written = 0
    while written < len(data):
        written += pwrite(fd, view[written:], offset + written)
