"""A disk under the journal that fails when told to, and knows what a power failure may leave of it.

It stands in for ``os`` in the journal's modules. Everything is done to real files
as well, so that the journal reads what it has written; beside them the disk keeps,
for each file and for the directory, what has been synced and what has not. What a
power failure leaves follows the rules of ALICE (OSDI 2014): of the changes that
were not synced any subset is there, in any order between files; a write may be
torn; the space of a file may be there without its data; names are durable only
once the directory has been synced.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from redqueue.journal import failed, recovery, removal
from redqueue.journal import segment as seg

SECTOR = 512
POWER_FAILURES = ("nothing unsynced", "everything", "sizes without data", "the last change only", "any subset")
"""What may be left of the changes that were not synced."""


@dataclass
class Inode:
    """A file, whatever its names.

    :ivar synced: what is on the disk for certain
    :ivar changes: what has been done since the last sync: (kind, offset or size, data)
    :ivar failed: whether a sync of it has failed: it must never be synced again
    """

    synced: bytes = b""
    changes: list[tuple[str, int, bytes]] = field(default_factory=list)
    size: int = 0
    failed: bool = False


@dataclass
class Fault:
    """The operations of some kinds fail, from the ``first`` on, counted from 1.

    :ivar kinds: of ``write``, ``sync``, ``allocate``, ``read``
    :ivar forever: whether all that follow fail, too, until the fault is removed
    """

    kinds: tuple[str, ...]
    first: int
    number: int
    forever: bool = False
    seen: int = 0
    hits: int = 0


class Disk:
    """See the module.

    :param directory: the one whose files it has
    :param seed: of what a power failure leaves
    :param capacity: bytes that all files may have together; None for no limit

    :ivar after: called with the kind of each operation that changes something, once it is done
    :ivar counts: how many operations of each kind there were
    :ivar violations: what nobody may do and somebody did
    """

    def __init__(self, directory: Path, seed: object = 0, capacity: int | None = None) -> None:
        self.directory = directory
        self.random = random.Random(str(seed))
        self.capacity = capacity
        self.fault: Fault | None = None
        self.after: Callable[[str], None] = lambda kind: None
        self.counts: dict[str, int] = {}
        self.violations: list[str] = []
        self.names: dict[str, Inode] = {}
        self._fds: dict[int, Inode | None] = {}
        for path in directory.iterdir():
            if path.is_file():
                data = path.read_bytes()
                self.names[path.name] = Inode(data, size=len(data))
        self.synced_names = dict(self.names)
        self.name_changes: list[tuple[str, Inode | None]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    @contextmanager
    def installed(self) -> Iterator[Disk]:
        """The journal's modules use this disk."""
        with pytest.MonkeyPatch.context() as patched:
            for module in (seg, recovery, failed, removal):
                patched.setattr(module, "os", self)
            patched.setattr(seg, "pwrite", self.pwrite)
            patched.setattr(seg, "_datasync", self.fdatasync)
            yield self

    # -- the calls that change something ------------------------------------------

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        """open(2)."""
        path = Path(path)
        fd = os.open(path, flags, mode)
        if path == self.directory:
            self._fds[fd] = None
        elif path.parent == self.directory:
            inode = self.names.get(path.name)
            if inode is None:
                inode = self._name(path.name, Inode())
            self._fds[fd] = inode
            if flags & os.O_TRUNC and inode.size:
                self._change(inode, "truncate", 0)
        return fd

    def close(self, fd: int) -> None:
        """close(2)."""
        self._fds.pop(fd, None)
        os.close(fd)

    def link(self, source: Path, target: Path) -> None:
        """link(2)."""
        os.link(source, target)
        if Path(target).parent != self.directory:
            return
        self._name(Path(target).name, self.names[Path(source).name])
        self._done("link")

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        os.unlink(path)
        if Path(path).parent != self.directory:
            return
        del self.names[Path(path).name]
        self.name_changes.append((Path(path).name, None))
        self._done("unlink")

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """pwrite(2); where the disk is full it writes what fits, and fails where nothing does."""
        inode = self._fds.get(fd)
        if inode is None:
            return os.pwrite(fd, data, offset)
        fits = min(len(data), self._room() + max(0, inode.size - offset))
        try:
            self._fail_if_told_to("write")
        except OSError as error:
            written = [0, 1, len(data) // 2]
            if error.errno != errno.ENOSPC:
                written.append(len(data))
            self._write(fd, inode, bytes(data[: self.random.choice(written)]), offset)
            raise
        if not fits and len(data):
            raise OSError(errno.ENOSPC, "the disk is full")
        self._write(fd, inode, bytes(data[:fits]), offset)
        self._done("write")
        return fits

    def _write(self, fd: int, inode: Inode, data: bytes, offset: int) -> None:
        if data:
            os.pwrite(fd, data, offset)
            self._change(inode, "write", offset, data)

    def posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        """posix_fallocate(3)."""
        inode = self._fds.get(fd)
        if inode is None:
            os.posix_fallocate(fd, offset, size)
            return
        self._fail_if_told_to("allocate")
        if self._room() < offset + size - inode.size:
            raise OSError(errno.ENOSPC, "the disk is full")
        os.posix_fallocate(fd, offset, size)
        self._change(inode, "extend", offset + size)
        self._done("allocate")

    def ftruncate(self, fd: int, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(fd, size)
        inode = self._fds.get(fd)
        if inode is None:
            return
        self._change(inode, "truncate", size)
        self._done("truncate")

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2)."""
        os.truncate(path, size)
        if Path(path).parent != self.directory:
            return
        self._change(self.names[Path(path).name], "truncate", size)
        self._done("truncate")

    def fdatasync(self, fd: int) -> None:
        """fdatasync(2)."""
        self.fsync(fd)

    def fsync(self, fd: int) -> None:
        """fsync(2). One that fails marks the changes as clean: they may be lost, and no later one writes them."""
        if fd not in self._fds:
            return
        inode = self._fds[fd]
        if inode is not None and inode.failed:
            self.violations.append("a file was synced again after a sync of it had failed")
        try:
            self._fail_if_told_to("sync")
        except OSError:
            if inode is not None:
                inode.failed = True
                inode.synced = self._left_of(inode, "any subset")
                inode.changes.clear()
            raise
        if inode is None:
            self.synced_names = dict(self.names)
            self.name_changes.clear()
        else:
            inode.synced = self._left_of(inode, "everything")
            inode.changes.clear()
        self._done("sync")

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """pread(2)."""
        self._fail_if_told_to("read")
        return os.pread(fd, size, offset)

    # -- inside -------------------------------------------------------------------

    def _name(self, name: str, inode: Inode) -> Inode:
        self.names[name] = inode
        self.name_changes.append((name, inode))
        return inode

    def _change(self, inode: Inode, kind: str, where: int, data: bytes = b"") -> None:
        inode.changes.append((kind, where, data))
        inode.size = where if kind == "truncate" else max(inode.size, where + len(data))

    def _done(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.after(kind)

    def _fail_if_told_to(self, kind: str) -> None:
        fault = self.fault
        if fault is None or kind not in fault.kinds:
            return
        fault.seen += 1
        if fault.seen == fault.first or (fault.forever and fault.seen > fault.first):
            fault.hits += 1
            raise OSError(fault.number, f"the disk was told to fail ({kind} {fault.seen})")

    def _room(self) -> int:
        if self.capacity is None:
            return 1 << 62
        inodes = [*self.names.values(), *(inode for inode in self._fds.values() if inode is not None)]
        return self.capacity - sum(inode.size for inode in {id(inode): inode for inode in inodes}.values())

    # -- power failures -------------------------------------------------------------

    def _left_of(self, inode: Inode, what: str) -> bytes:
        """What a power failure leaves of a file."""
        content = bytearray(inode.synced)
        last = len(inode.changes) - 1
        for i, (kind, where, data) in enumerate(inode.changes):
            torn = False
            if what == "nothing unsynced" or (what == "the last change only" and i < last):
                continue
            if what == "sizes without data" and kind == "write":
                data = bytes(len(data)) if where + len(data) > len(content) else b""
            elif what == "any subset":
                if self.random.random() < 0.4:
                    continue
                torn = kind == "write" and self.random.random() < 0.4
            if kind == "truncate":
                del content[where:]
                content.extend(bytes(where - len(content)))
            elif kind == "extend":
                content.extend(bytes(where - len(content)))
            else:
                if where + len(data) > len(content):
                    content.extend(bytes(where + len(data) - len(content)))
                for start, stop in self._pieces(where, len(data), torn):
                    content[where + start : where + stop] = data[start:stop]
        return bytes(content)

    def _pieces(self, where: int, size: int, torn: bool) -> list[tuple[int, int]]:
        """Which bytes of a write are there."""
        if not torn:
            return [(0, size)]
        if self.random.random() < 0.5:
            return [(0, self.random.randrange(size + 1))]
        borders = [0, *range(SECTOR - where % SECTOR, size, SECTOR), size]
        return [pair for pair in pairwise(borders) if self.random.random() < 0.5]

    def lose_power(self, target: Path, what: str) -> None:
        """Write what a power failure at this moment may leave into the new directory ``target``.

        :param what: one of :data:`POWER_FAILURES`
        """
        names = dict(self.synced_names)
        last = len(self.name_changes) - 1
        for i, (name, inode) in enumerate(self.name_changes):
            if what == "nothing unsynced" or (what == "the last change only" and i < last):
                continue
            if what == "any subset" and self.random.random() < 0.5:
                continue
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        target.mkdir()
        written: dict[int, str] = {}
        for name, inode in names.items():
            if id(inode) in written:
                os.link(target / written[id(inode)], target / name)
            else:
                written[id(inode)] = name
                (target / name).write_bytes(self._left_of(inode, what))


def copy_as_it_is(source: Path, target: Path) -> None:
    """What a kill -9 leaves: all files as they are, two names of one file included."""
    target.mkdir()
    written: dict[int, str] = {}
    for path in source.iterdir():
        inode = path.stat().st_ino
        if inode in written:
            os.link(target / written[inode], target / path.name)
        else:
            written[inode] = path.name
            (target / path.name).write_bytes(path.read_bytes())
