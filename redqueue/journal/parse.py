"""The records of a frame as typed objects, for the tools that read a journal while no engine runs on it.

Layouts are those of :mod:`redqueue.journal.record` and docs/journal-format.md.
The server's own replay does not come here: it keeps records as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error
from typing import NamedTuple

from redqueue.journal.record import (
    ACK,
    ACK_RECORD,
    DROP,
    DROP_RECORD,
    FANOUT,
    HAS_DELIVERIES,
    HAS_EXPIRY,
    HAS_ORIGIN,
    HAS_PLACE,
    HAS_READY_AT,
    NAME,
    NAME_HEAD,
    PUT,
    PUT_HEAD,
    PUT_SIZE,
    REWRITE,
    WIPE,
    WIPE_RECORD,
    MalformedRecord,
)

KIND_NAMES = {PUT: "PUT", ACK: "ACK", NAME: "NAME", DROP: "DROP", WIPE: "WIPE", REWRITE: "REWRITE", FANOUT: "FANOUT"}

ITEM_HEAD_MOST = PUT_SIZE + 8 * 8 + 4
"""Bytes from the start of a PUT, REWRITE or FANOUT that tell its length."""

_U64 = Struct(">Q")
_I64 = Struct(">q")
_U32 = Struct(">I")


class Item(NamedTuple):
    """A PUT or REWRITE, or one of the items of a FANOUT.

    :ivar at: offset of the record in the payload of its frame
    :ivar length: bytes of the record; of a FANOUT, this item's share of them
    :ivar expires: when its time to live passes, nanoseconds; 0 for never
    :ivar place: its place in the order of its queue
    :ivar ready_at: when it becomes ready, nanoseconds; 0 for at once
    :ivar deliveries: how often it has been delivered, as far as that was written down
    :ivar origin: the number of the queue from which it was moved; 0 for none
    :ivar payload: its bytes, in the frame that was parsed
    """

    at: int
    length: int
    kind: int
    queue: int
    item_id: int
    time: int
    flags: int
    expires: int
    place: int
    ready_at: int
    deliveries: int
    origin: int
    payload: memoryview


class Fanout(NamedTuple):
    """A FANOUT: items with ids one after another, which have one payload.

    :ivar first: the first of them
    :ivar queues: the queue of each
    """

    at: int
    length: int
    first: Item
    queues: tuple[int, ...]

    def items(self) -> Iterator[Item]:
        """The items; the bytes of the record are shared out among them."""
        first, count = self.first, len(self.queues)
        own_place = first.place != first.item_id
        for k, queue in enumerate(self.queues):
            item_id = first.item_id + k
            yield first._replace(
                length=self.length // count + (k < self.length % count),
                queue=queue,
                item_id=item_id,
                place=first.place if own_place else item_id,
            )


class Ack(NamedTuple):
    """An ACK."""

    at: int
    length: int
    item_id: int


class Name(NamedTuple):
    """A NAME."""

    at: int
    length: int
    queue: int
    name: bytes


class Drop(NamedTuple):
    """A DROP: the queue's items with ids under ``below`` are gone."""

    at: int
    length: int
    queue: int
    below: int


class Wipe(NamedTuple):
    """A WIPE: all items with ids under ``below`` are gone."""

    at: int
    length: int
    below: int


Record = Item | Fanout | Ack | Name | Drop | Wipe


class SenselessRecord(MalformedRecord):
    """A record that does not parse.

    :ivar at: its offset in the payload
    """

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


def records(payload: bytes) -> Iterator[Record]:
    """The records of a frame's payload.

    :raises SenselessRecord: at the first that does not parse; those before it have been yielded
    """
    view = memoryview(payload)
    at, end = 0, len(view)
    while at < end:
        try:
            record = _record(view, at)
        except (error, IndexError):
            raise SenselessRecord("the last record is longer than its frame", at) from None
        at += record.length
        if at > end:
            raise SenselessRecord("the last record is longer than its frame", record.at)
        yield record


def item_record_length(head: bytes) -> int:
    """The length of the PUT, REWRITE or FANOUT of which the first :data:`ITEM_HEAD_MOST` bytes, or all, are given."""
    fields_end = PUT_SIZE + 8 * bin(head[1]).count("1")
    size = int(_U32.unpack_from(head, PUT_SIZE - _U32.size)[0])
    if head[0] == FANOUT:
        size += _U32.size + 6 * int(_U32.unpack_from(head, fields_end)[0])
    return fields_end + size


def item_at(record: bytes, item_id: int) -> Item:
    """The item ``item_id`` of one PUT, REWRITE or FANOUT record."""
    parsed = _record(memoryview(record), 0)
    if isinstance(parsed, Fanout):
        parsed = next(item for item in parsed.items() if item.item_id == item_id)
    assert isinstance(parsed, Item)
    return parsed


def _record(view: memoryview, at: int) -> Record:
    kind = view[at]
    if kind in (PUT, REWRITE):
        return _item(view, at)
    if kind == ACK:
        return Ack(at, ACK_RECORD.size, ACK_RECORD.unpack_from(view, at)[1])
    if kind == NAME:
        _, size, high, low = NAME_HEAD.unpack_from(view, at)
        start = at + NAME_HEAD.size
        return Name(at, NAME_HEAD.size + size, high << 32 | low, bytes(view[start : start + size]))
    if kind == DROP:
        _, _, high, low, below = DROP_RECORD.unpack_from(view, at)
        return Drop(at, DROP_RECORD.size, high << 32 | low, below)
    if kind == WIPE:
        return Wipe(at, WIPE_RECORD.size, WIPE_RECORD.unpack_from(view, at)[1])
    if kind == FANOUT:
        return _fanout(view, at)
    raise SenselessRecord(f"a record of kind {kind}, which this version does not know", at)


def _item(view: memoryview, at: int, between: int = 0) -> Item:
    """The item whose head is at ``at``, with ``between`` bytes before its payload that belong to somebody else."""
    kind, attributes, high, low, item_id, time, flags, size = PUT_HEAD.unpack_from(view, at)
    start = at + PUT_SIZE + between
    expires = ready_at = deliveries = origin = 0
    place = item_id
    if attributes:
        field = at + PUT_SIZE
        if attributes & HAS_EXPIRY:
            expires = _U64.unpack_from(view, field)[0]
            field += 8
        if attributes & HAS_PLACE:
            place = _I64.unpack_from(view, field)[0]
            field += 8
        if attributes & HAS_READY_AT:
            ready_at = _U64.unpack_from(view, field)[0]
            field += 8
        if attributes & HAS_DELIVERIES:
            deliveries = _U64.unpack_from(view, field)[0]
            field += 8
        if attributes & HAS_ORIGIN:
            origin = _U64.unpack_from(view, field)[0]
        start += 8 * bin(attributes).count("1")
    return Item(
        at,
        start + size - at,
        kind,
        high << 32 | low,
        item_id,
        time,
        flags,
        expires,
        place,
        ready_at,
        deliveries,
        origin,
        view[start : start + size],
    )


def _fanout(view: memoryview, at: int) -> Fanout:
    counted = at + PUT_SIZE + 8 * bin(view[at + 1]).count("1")
    (count,) = _U32.unpack_from(view, counted)
    numbers = counted + _U32.size
    queues = view[numbers : numbers + 6 * count]
    if len(queues) < 6 * count or not count:
        raise SenselessRecord("a FANOUT names fewer queues than it says", at)
    first = _item(view, at, _U32.size + 6 * count)
    return Fanout(
        at, first.length, first, tuple(int.from_bytes(queues[i : i + 6], "big") for i in range(0, 6 * count, 6))
    )
