"""Journals of Kestrel and Starling: operations in binary, a file for each queue (Kestrel's docs/journal_format.md).

Operations name the head of the queue, or a transaction. Items whose time to live has passed are dropped only once
all is replayed, since each operation counts on what was before it.
"""

from __future__ import annotations

import struct
from collections import deque
from pathlib import Path

from redqueue.importers.item import Queue, SourceItem

ADD, REMOVE, ADDX, REMOVE_TENTATIVE, SAVE_XID, UNREMOVE, CONFIRM_REMOVE, ADD_XID, CONTINUE = range(9)
_INT = struct.Struct("<i")
_TWO_INTS = struct.Struct("<ii")
_TIMES = struct.Struct("<qq")
_SOME_TIMES = range(10**12, 10**13)
"""Milliseconds of the years from 2001 on: what tells a CONTINUE from the state dump of other versions."""


class _Broken(Exception):
    """Here is no operation."""


def read(directory: Path) -> list[Queue]:
    """The queues of a journal directory."""
    names = {
        path.name.partition(".")[0] for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")
    }
    queues = []
    for name in sorted(names):
        if name and "~~" not in name:
            queues.append(_Replay(name.encode("utf-8", "surrogateescape")).run(_files(directory, name)))
    return queues


def _files(directory: Path, name: str) -> list[Path]:
    """The files of a queue, the oldest first."""
    rotated = []
    for path in directory.glob("*"):
        first, _, stamp = path.name.partition(".")
        number = stamp.removesuffix(".pack")
        if first == name and number.isdecimal():
            rotated.append((int(number), stamp.endswith(".pack"), path))
    packed = max((number for number, is_pack, _ in rotated if is_pack), default=-1)
    if packed == 0:  # renamed by the latest versions, which pack all that they had rotated before the reader's file
        packs = [path for number, is_pack, path in rotated if is_pack]
        paths = packs + [path for number, is_pack, path in sorted(rotated) if not is_pack]
    else:
        paths = [path for number, is_pack, path in sorted(rotated) if number > packed or (is_pack and number == packed)]
    last = directory / name
    return paths + ([last] if last.is_file() else [])


class _Replay:
    """The state of a queue while its operations are replayed."""

    def __init__(self, name: bytes) -> None:
        self._found = Queue(name)
        self._ready: deque[SourceItem] = deque()
        self._open: dict[int, SourceItem] = {}
        self._xid = 0
        self._named: tuple[int, SourceItem] | None = None

    def run(self, files: list[Path]) -> Queue:
        for path in files:
            data = path.read_bytes()
            at = 0
            while at < len(data):
                try:
                    at = self._operation(data, at)
                except (_Broken, struct.error):
                    self._found.findings.append(
                        f"{path.name} ends in what is no operation: {len(data) - at} bytes from byte {at} left out"
                    )
                    break
        self._found.items = [*self._open.values(), *self._ready]
        return self._found

    def _operation(self, data: bytes, at: int) -> int:
        code, at = data[at], at + 1
        named, self._named = self._named, None
        if code == ADD:
            item, at = self._block(data, at, is_old=True)
            self._ready.append(item)
        elif code == ADDX:
            item, at = self._block(data, at)
            self._ready.append(item)
        elif code == REMOVE:
            if self._ready:
                self._ready.popleft()
            else:
                self._doubt("an item was removed from the empty queue", at)
        elif code == REMOVE_TENTATIVE:
            self._reserve(named, at)
        elif code in (SAVE_XID, UNREMOVE, CONFIRM_REMOVE):
            (xid,) = _INT.unpack_from(data, at)
            at += 4
            if code == SAVE_XID:
                self._xid = xid
            elif (item_or_none := self._open.pop(xid, None)) is None:
                self._doubt(f"there is no transaction {xid} to end", at)
            elif code == UNREMOVE:
                self._ready.appendleft(item_or_none)
        elif code == ADD_XID:
            (xid,) = _INT.unpack_from(data, at)
            item, at = self._block(data, at + 4)
            self._ready.append(item)
            self._named = xid, item
        elif code == CONTINUE:
            at = self._continue(data, at)
        else:
            raise _Broken
        return at

    def _reserve(self, named: tuple[int, SourceItem] | None, at: int) -> None:
        if named is not None:  # the item before it, wherever in the queue that went
            xid, item = named
            self._ready.pop()
            if (other := self._open.get(xid)) is not None and other.payload != item.payload:
                self._ready.appendleft(other)
        elif self._ready:
            item = self._ready.popleft()
            self._xid += 1
            while self._xid in self._open:
                self._xid += 1
            xid = self._xid
        else:
            self._doubt("an item was reserved from the empty queue", at)
            return
        self._open[xid] = item

    def _continue(self, data: bytes, at: int) -> int:
        """Opcode 8: the item of a transaction put again at the end; in other versions a count of transactions."""
        xid, size = _TWO_INTS.unpack_from(data, at)
        if size >= 16 and at + 8 + size <= len(data) and _TIMES.unpack_from(data, at + 8)[0] in _SOME_TIMES:
            item, at = self._block(data, at + 4)
            self._open.pop(xid, None)
            self._ready.append(item)
            return at
        self._xid = xid
        return at + 8

    def _block(self, data: bytes, at: int, is_old: bool = False) -> tuple[SourceItem, int]:
        (size,) = _INT.unpack_from(data, at)
        at += 4
        end = at + size
        if end > len(data) or size < (4 if is_old else 16):
            raise _Broken
        if is_old:
            return SourceItem(data[at + 4 : end], expires=float(_INT.unpack_from(data, at)[0])), end
        return SourceItem(data[at + 16 : end], expires=_TIMES.unpack_from(data, at)[1] / 1000), end

    def _doubt(self, what: str, at: int) -> None:
        self._found.findings.append(f"{what}, before byte {at}")
