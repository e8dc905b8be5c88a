"""The records of the journal, which are also the items in memory.

A put record is built once, when the item arrives, and the same bytes object is
what the journal writes and what the queue holds until it is acknowledged: no
second copy, no object per item for the garbage collector to walk.

All integers are big-endian, so that ids compare as bytes. Moments are
nanoseconds of wall-clock time since 1970.

PUT
    kind u8, attributes u8, queue u48, id u64, time u64, flags u32, size u32,
    one u64 for each attribute bit set (lowest bit first), then ``size`` bytes
    of payload. Ids grow from one PUT to the next.
REWRITE
    as PUT, but of an item that is there already: it takes the place of the
    item's former record (``incr``, ``replace``).
ACK
    kind u8, id u64. The item is gone for ever: acknowledged or expired.
NAME
    kind u8, length u8, queue u48, ``length`` bytes of name. Tells which queue a
    number stands for; it comes before the number's first use in each segment,
    and a number never stands for another queue.
DROP
    kind u8, reserved u8, queue u48, id u64. Every item of the queue with an id
    below this one is gone (``flush``).
WIPE
    kind u8, id u64. Every item of every queue with an id below it is gone
    (``flush_all``).
FANOUT
    One payload for several queues: as PUT up to the attributes' fields, then
    ``count`` u32 and as many queue numbers (u48), then the payload. It stands
    for ``count`` PUTs with the ids from ``id`` on, one for each queue in turn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

PUT: Final = 1
ACK: Final = 2
NAME: Final = 3
DROP: Final = 4
WIPE: Final = 5
REWRITE: Final = 6
FANOUT: Final = 7

HAS_EXPIRY: Final = 1
"""Attribute: the moment the item's TTL passes, nanoseconds."""
HAS_PLACE: Final = 2
"""Attribute: the item's place in the order of its queue, where it is not its id."""
HAS_READY_AT: Final = 4
"""Attribute: the moment before which the item is not ready, nanoseconds."""
HAS_DELIVERIES: Final = 8
"""Attribute: how many deliveries of the item were lost, by a closed connection or a passed deadline."""
HAS_ORIGIN: Final = 16
"""Attribute: the number of the queue that a dead letter came from."""

PUT_HEAD: Final = Struct(">BBHIQQII")
"""The queue's number is [2:8] of a record, the id [8:16]: written out, because mypyc indexes bytes by literals only."""
PUT_SIZE: Final = PUT_HEAD.size
NAME_HEAD: Final = Struct(">BBHI")
DROP_RECORD: Final = Struct(">BBHIQ")
ACK_RECORD: Final = Struct(">BQ")
WIPE_RECORD: Final = ACK_RECORD

PUT_KIND: Final = bytes([PUT])
ACK_KIND: Final = bytes([ACK])
REWRITE_KIND: Final = bytes([REWRITE])
FANOUT_KIND: Final = bytes([FANOUT])
_LOW: Final = 0xFFFFFFFF
_U64: Final = Struct(">Q")
_I64: Final = Struct(">q")
_U32_PAIR: Final = Struct(">II")
_U32: Final = Struct(">I")
_QUEUE_BYTES: Final = 6


_SIZES: Final = {ACK: ACK_RECORD.size, WIPE: WIPE_RECORD.size, DROP: DROP_RECORD.size}


class MalformedRecord(ValueError):
    """A frame's checksum is right and yet its records do not parse."""


def put(
    queue: int,
    item_id: int,
    time: int,
    flags: int,
    payload: bytes,
    expires: int = 0,
    place: int | None = None,
    ready_at: int = 0,
    deliveries: int = 0,
    origin: int = 0,
) -> bytes:
    """A PUT record.

    :param queue: number of the queue
    :param item_id: the item's id
    :param time: when it arrived, nanoseconds
    :param flags: 32-bit client flags
    :param payload: the item's bytes
    :param expires: when its TTL passes, nanoseconds; 0 for never
    :param place: its place in the queue's order where that is not its id
    :param ready_at: when it is ready, nanoseconds; 0 for at once
    :param deliveries: how many of its deliveries were lost
    :param origin: number of the queue that a dead letter came from; 0 where it is none
    """
    attributes = 0
    fields = b""
    if expires:
        attributes |= HAS_EXPIRY
        fields = _U64.pack(expires)
    if place is not None:
        attributes |= HAS_PLACE
        fields += _I64.pack(place)
    if ready_at:
        attributes |= HAS_READY_AT
        fields += _U64.pack(ready_at)
    if deliveries:
        attributes |= HAS_DELIVERIES
        fields += _U64.pack(deliveries)
    if origin:
        attributes |= HAS_ORIGIN
        fields += _U64.pack(origin)
    head = PUT_HEAD.pack(PUT, attributes, queue >> 32, queue & _LOW, item_id, time, flags, len(payload))
    return head + fields + payload


def replaced(record: bytes, queue: int, payload: bytes, flags: int, expires: int, origin: int = 0) -> bytes:
    """The REWRITE record of the same item, ready and at the same place, with another payload, flags and expiry.

    :param origin: as in :func:`put`; the number in ``record`` may be one that nobody names any more
    """
    _, attributes, _, _, item_id, time, _, _ = PUT_HEAD.unpack_from(record)
    kept_place = place(record) if attributes & HAS_PLACE else None
    new = put(queue, item_id, time, flags, payload, expires, kept_place, 0, deliveries(record), origin)
    return REWRITE_KIND + new[1:]


def moved(
    record: bytes, queue: int, *, place: int | None, ready_at: int = 0, deliveries: int = 0, origin: int = 0
) -> bytes:
    """The REWRITE record of the same item with its payload, flags and expiry, and all else as given.

    :param place: as the other arguments in :func:`put`
    """
    _, _, _, _, item_id, time, flags, _ = PUT_HEAD.unpack_from(record)
    new = put(queue, item_id, time, flags, payload(record), expires(record), place, ready_at, deliveries, origin)
    return REWRITE_KIND + new[1:]


def copied(record: bytes) -> bytes:
    """The REWRITE record that says the same as a PUT or REWRITE record."""
    return REWRITE_KIND + record[1:]


def fan_out(records: Sequence[bytes]) -> bytes:
    """The FANOUT record that stands for PUT records with ids in a row, which differ in id and queue only."""
    first = records[0]
    at = payload_offset(first)
    queues = b"".join([record[2:8] for record in records])
    return FANOUT_KIND + first[1:at] + _U32.pack(len(records)) + queues + first[at:]


def differ_in_queue_only(records: Sequence[bytes]) -> bool:
    """Whether PUT records, several of them, differ in nothing but id and queue."""
    first = records[0]
    rest, attributes = first[16:], first[1]
    return len(records) > 1 and all(record[16:] == rest and record[1] == attributes for record in records)


def fan_out_queues(record: bytes) -> list[bytes]:
    """The queue numbers, six bytes each, of a FANOUT record, or of its beginning up to the payload."""
    at = payload_offset(record)
    end = at + 4 + _QUEUE_BYTES * _U32.unpack_from(record, at)[0]
    return [record[i : i + _QUEUE_BYTES] for i in range(at + 4, end, _QUEUE_BYTES)]


def fan_out_member(record: bytes, item_id: int) -> bytes:
    """The PUT record, with the id ``item_id``, of those that a FANOUT record stands for.

    :raises MalformedRecord: where it is none of them
    """
    at = payload_offset(record)
    queues = fan_out_queues(record)
    i = item_id - int.from_bytes(record[8:16], "big")
    if not 0 <= i < len(queues):
        raise MalformedRecord(f"a FANOUT record of {len(queues)} items has none with the id {item_id}")
    head = PUT_KIND + record[1:2] + queues[i] + _U64.pack(item_id)
    return head + record[16:at] + record[at + 4 + _QUEUE_BYTES * len(queues) :]


def stored_size(data: bytes, at: int) -> int:
    """The length of the PUT, REWRITE or FANOUT record that begins at ``at`` of ``data``.

    :raises MalformedRecord: where ``data`` ends before that can be told, or it is no such record
    """
    try:
        kind, attributes = data[at], data[at + 1]
        size: int = PUT_SIZE + 8 * attributes.bit_count() + _U32.unpack_from(data, at + 28)[0]
        if kind == FANOUT:
            size += 4 + _QUEUE_BYTES * _U32.unpack_from(data, at + PUT_SIZE + 8 * attributes.bit_count())[0]
    except (IndexError, struct.error):
        raise MalformedRecord("a record is longer than what it stands in") from None
    if kind not in (PUT, REWRITE, FANOUT):
        raise MalformedRecord(f"a record of kind {kind} where an item should be")
    return size


def split(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a frame's payload, each with the offset at which it begins.

    :raises MalformedRecord: where they do not parse
    """
    at = 0
    while at < len(payload):
        kind = payload[at]
        if kind in _SIZES:
            size = _SIZES[kind]
        elif kind == NAME:
            size = NAME_HEAD.size + payload[at + 1]
        else:
            size = stored_size(payload, at)
        yield at, payload[at : at + size]
        at += size


def ack(item_id: bytes) -> bytes:
    """An ACK record of the item whose 8 id bytes are given."""
    return ACK_KIND + item_id


def name(queue: int, text: bytes) -> bytes:
    """A NAME record."""
    return NAME_HEAD.pack(NAME, len(text), queue >> 32, queue & _LOW) + text


def drop(queue: int, below: int) -> bytes:
    """A DROP record: the queue's items with ids under ``below`` are gone."""
    return DROP_RECORD.pack(DROP, 0, queue >> 32, queue & _LOW, below)


def wipe(below: int) -> bytes:
    """A WIPE record: all items with ids under ``below`` are gone."""
    return WIPE_RECORD.pack(WIPE, below)


def item_id(record: bytes) -> int:
    """The id of a PUT record's item."""
    return int.from_bytes(record[8:16], "big")


def payload_offset(record: bytes) -> int:
    """Where the payload of a PUT record begins."""
    attributes = record[1]
    if not attributes:
        return PUT_SIZE
    return PUT_SIZE + 8 * attributes.bit_count()


def payload(record: bytes) -> bytes:
    """The payload of a PUT record."""
    return record[payload_offset(record) :]


def payload_size(record: bytes) -> int:
    """The length of a PUT record's payload, bytes."""
    return len(record) - payload_offset(record)


def flags(record: bytes) -> int:
    """The client flags of a PUT record."""
    return int(_U32_PAIR.unpack_from(record, 24)[0])


def time(record: bytes) -> int:
    """When the item of a PUT record arrived, nanoseconds."""
    return int.from_bytes(record[16:24], "big")


def expires(record: bytes) -> int:
    """When the TTL of a PUT record's item passes, nanoseconds; 0 for never."""
    if record[1] & HAS_EXPIRY:
        return int.from_bytes(record[PUT_SIZE : PUT_SIZE + 8], "big")
    return 0


def own_place(record: bytes) -> int | None:
    """The place of a PUT record's item where that is not its id, else None: what :func:`put` takes."""
    return place(record) if record[1] & HAS_PLACE else None


def ready_at(record: bytes) -> int:
    """Before when the item of a PUT record is not ready, nanoseconds; 0 where it has no delay."""
    return _field(record, HAS_READY_AT)


def deliveries(record: bytes) -> int:
    """How many deliveries of a PUT record's item were lost, as far as its queue counts them."""
    return _field(record, HAS_DELIVERIES)


def origin(record: bytes) -> int:
    """The number of the queue that the dead letter of a PUT record came from; 0 for an item that is none."""
    return _field(record, HAS_ORIGIN)


def _field(record: bytes, attribute: int) -> int:
    attributes = record[1]
    if not attributes & attribute:
        return 0
    at = PUT_SIZE + 8 * (attributes & (attribute - 1)).bit_count()
    return int.from_bytes(record[at : at + 8], "big")


def place(record: bytes) -> int:
    """The place of a PUT record's item in the order of its queue."""
    attributes = record[1]
    if not attributes & HAS_PLACE:
        return int.from_bytes(record[8:16], "big")
    at = PUT_SIZE + 8 * (attributes & (HAS_PLACE - 1)).bit_count()
    return int.from_bytes(record[at : at + 8], "big", signed=True)
