"""Reading items back from their segments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

from redqueue.journal import record as rec
from redqueue.journal.record import FANOUT, PUT, PUT_SIZE, REWRITE, MalformedRecord
from redqueue.journal.segment import path_of

_NEAR = 64 << 10
"""Two items no farther apart than this are read in one go."""
_NEAR_ALL = 4 * _NEAR
"""Items that stand within so many bytes are, too."""
_LONGEST = 1 << 20
"""Bytes read in one go, of several items."""
_GUESS = 4096
"""Bytes read from the beginning of the last item of a run."""
_fields = Struct(">BB6xQ12xI").unpack_from


class UnreadableItem(OSError):
    """An item does not stand where it should; the message names the place."""


def fetch(directory: Path, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
    """The records of items, in the order in which they are asked for.

    :param wanted: (id, position) of each
    :raises UnreadableItem: where the record there is not that item's
    :raises OSError: where a segment cannot be read
    """
    records: list[bytes] = []
    start = 0
    while start < len(wanted):
        stop = _end_of_run(wanted, start)
        records += _read_run(directory, wanted[start:stop])
        start = stop
    return records


def _end_of_run(wanted: Sequence[tuple[int, int]], start: int) -> int:
    """Where the items end that are read together with the one at ``start``."""
    positions = [position for _, position in wanted[start:]]
    first = before = positions[0]
    if positions[-1] - first <= _NEAR_ALL and sorted(positions) == positions and positions[-1] >> 32 == first >> 32:
        return len(wanted)
    for i in range(start + 1, len(wanted)):
        position = wanted[i][1]
        if not 0 <= position - before <= _NEAR or position - first > _LONGEST or position >> 32 != first >> 32:
            return i
        before = position
    return len(wanted)


def _read_run(directory: Path, run: Sequence[tuple[int, int]]) -> list[bytes]:
    number, start = run[0][1] >> 32, run[0][1] & 0xFFFFFFFF
    path = path_of(directory, number)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, run[-1][1] - run[0][1] + _GUESS, start)
        records, length = [], len(data)
        for item_id, position in run:
            at = (position & 0xFFFFFFFF) - start
            if at + PUT_SIZE <= length:
                kind, attributes, found, size = _fields(data, at)
                end = at + PUT_SIZE + size
                if found == item_id and not attributes and end <= length and kind in (PUT, REWRITE):
                    records.append(data[at:end])
                    continue
            records.append(_record(fd, path, data, at, start, item_id))
        return records
    finally:
        os.close(fd)


def _record(fd: int, path: Path, data: bytes, at: int, start: int, item_id: int) -> bytes:
    """The record at ``at`` of ``data``, which was read at ``start`` and may end too early."""
    try:
        size = rec.stored_size(data, at)
        record = data[at : at + size]
        if len(record) < size:
            record = os.pread(fd, size, start + at)
        if len(record) == size and record[0] == FANOUT:
            record = rec.fan_out_member(record, item_id)
        elif len(record) < size:
            raise MalformedRecord("the file ends in the middle of it")
    except MalformedRecord as error:
        raise UnreadableItem(f"{path} has no item at offset {start + at}: {error}") from None
    if int.from_bytes(record[8:16], "big") != item_id:
        raise UnreadableItem(f"{path} does not have the item {item_id} at offset {start + at}")
    return record
