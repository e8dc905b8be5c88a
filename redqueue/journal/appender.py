"""Appending to a journal that no server uses, for the tools. Everything they ask of the log is here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from redqueue.journal.lock import Lock
from redqueue.journal.log import Log
from redqueue.journal.parse import Item
from redqueue.journal.record import (
    HAS_DELIVERIES,
    HAS_EXPIRY,
    HAS_ORIGIN,
    HAS_PLACE,
    HAS_READY_AT,
    PUT,
    PUT_HEAD,
    PUT_SIZE,
    REWRITE,
)
from redqueue.journal.recovery import Recovery
from redqueue.journal.worker import Worker

FRAME_BYTES = 1 << 20
"""Records are written when there are so many bytes of them."""


class Appender:
    """The journal in ``directory``, which is made where it is missing. Use as a context manager.

    What was appended is on the disk once the context has been left without an
    exception. A torn tail is cut off first, as a start of the server does.

    :raises redqueue.journal.lock.JournalInUse: a server has the journal
    :raises redqueue.journal.recovery.JournalDamaged: where a server would not start either
    :raises OSError: where the directory or a file cannot be used

    :param last_id: an id that new ones are to be above, though nothing in the journal says so

    :ivar last_id: the highest id so far
    :ivar written: records that have been written
    """

    def __init__(self, directory: Path, *, last_id: int = 0, segment_size: int = 64 << 20) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(directory)
        try:
            recovered = Recovery(directory).run()
            self.last_id = recovered.last_id = max(last_id, recovered.last_id)
            self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
            self._log = Log(
                directory,
                recovered,
                segment_size=segment_size,
                sync=False,
                wall_ns=time.time_ns,
                worker=Worker(self._calls.put),
            )
        except BaseException:
            self._lock.release()
            raise
        self.written = 0
        self._open_records = 0
        self._open_bytes = 0
        self._numbers: dict[bytes, int] = {}

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write()
                self._log.close()
            else:
                self._log.abandon()
        finally:
            self._lock.release()

    def number(self, name: bytes) -> int:
        """The number that stands for a queue."""
        if name not in self._numbers:
            self._numbers[name] = self._log.open_queue(name)
        return self._numbers[name]

    def put(self, name: bytes, item: Item, origin: bytes = b"") -> None:
        """Append a new item to a queue. It gets the next id, which is its place, too.

        :param item: all that there is to it but its queue, origin, id and place
        :param origin: name of the queue from which it was moved; empty for none
        :raises OSError: it, and those since ``written`` last grew, are not in the journal
        """
        self.last_id += 1
        self._log.put(self._record(PUT, name, self.last_id, None, item, origin))
        self._count(len(item.payload))

    def restore(self, name: bytes, item: Item, origin: bytes = b"") -> None:
        """Append an item that had its id and place before. Arguments as for :meth:`put`."""
        place = item.place if item.place != item.item_id else None
        self._log.rewrite(self._record(REWRITE, name, item.item_id, place, item, origin), b"")
        self._count(len(item.payload))

    def _record(self, kind: int, name: bytes, item_id: int, place: int | None, item: Item, origin: bytes) -> bytes:
        number = self.number(name)
        attributes, fields = 0, b""
        for bit, value in (
            (HAS_EXPIRY, item.expires or None),
            (HAS_PLACE, place),
            (HAS_READY_AT, item.ready_at or None),
            (HAS_DELIVERIES, item.deliveries or None),
            (HAS_ORIGIN, self.number(origin) if origin else None),
        ):
            if value is not None:
                attributes |= bit
                fields += value.to_bytes(8, "big", signed=value < 0)
        head = PUT_HEAD.pack(
            kind, attributes, number >> 32, number & 0xFFFFFFFF, item_id, item.time, item.flags, len(item.payload)
        )
        return b"".join((head, fields, item.payload))

    def _count(self, size: int) -> None:
        self._open_records += 1
        self._open_bytes += size + PUT_SIZE
        if self._open_bytes >= FRAME_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._log.pending:
            return
        if not self._log.write():
            outcomes: list[BaseException | None] = []
            self._log.start(outcomes.append)
            while not outcomes:
                self._calls.get()()
            if outcomes[0] is not None:
                raise outcomes[0]
        self.written += self._open_records
        self._open_records = self._open_bytes = 0
