"""Records: what goes in comes out, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.journal import record as rec

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
PLACES = st.none() | st.integers(-(2**63), 2**63 - 1)
QUEUES = st.integers(0, 2**48 - 1)
PAYLOADS = st.binary(max_size=300) | st.sampled_from([b"", b"\0", b"\r\n", b"a\r\nset q 0 0 1\r\n", b"RQF1" * 20])


def assert_reads(record: bytes, item_id: int, time: int, flags: int, payload: bytes, expires: int, place: int) -> None:
    assert rec.item_id(record) == item_id
    assert rec.time(record) == time
    assert rec.flags(record) == flags
    assert rec.payload(record) == payload
    assert rec.payload_size(record) == len(payload)
    assert record[rec.payload_offset(record) :] == payload
    assert rec.expires(record) == expires
    assert rec.place(record) == place


@given(QUEUES, U64, U64, U32, PAYLOADS, U64, PLACES)
def test_a_put_reads_back(
    queue: int, item_id: int, time: int, flags: int, payload: bytes, expires: int, place: int | None
) -> None:
    record = rec.put(queue, item_id, time, flags, payload, expires, place)
    assert record[0] == rec.PUT
    assert int.from_bytes(record[2:8], "big") == queue
    assert record[8:16] == item_id.to_bytes(8, "big")
    assert_reads(record, item_id, time, flags, payload, expires, item_id if place is None else place)


@given(QUEUES, U64, U64, U32, PAYLOADS, U64, PLACES, QUEUES, PAYLOADS, U32, U64)
def test_a_rewrite_keeps_id_time_and_place(
    queue: int,
    item_id: int,
    time: int,
    flags: int,
    payload: bytes,
    expires: int,
    place: int | None,
    new_queue: int,
    new_payload: bytes,
    new_flags: int,
    new_expires: int,
) -> None:
    old = rec.put(queue, item_id, time, flags, payload, expires, place)
    new = rec.replaced(old, new_queue, new_payload, new_flags, new_expires)
    assert new[0] == rec.REWRITE
    assert int.from_bytes(new[2:8], "big") == new_queue
    assert_reads(new, item_id, time, new_flags, new_payload, new_expires, item_id if place is None else place)
    again = rec.replaced(new, queue, payload, flags, expires)
    assert again[1:] == old[1:]


@pytest.mark.parametrize(
    ("expires", "place", "attributes"),
    [(0, None, 0), (5, None, rec.HAS_EXPIRY), (0, -1, rec.HAS_PLACE), (5, -1, rec.HAS_EXPIRY | rec.HAS_PLACE)],
)
@pytest.mark.parametrize("payload", [b"", b"x", b"line\r\nline\r\n"])
def test_attributes_cost_only_what_is_used(expires: int, place: int | None, attributes: int, payload: bytes) -> None:
    record = rec.put(7, 9, 11, 13, payload, expires, place)
    assert record[1] == attributes
    assert rec.payload_offset(record) == 32 + 8 * bin(attributes).count("1")
    assert len(record) == rec.payload_offset(record) + len(payload)
    assert_reads(record, 9, 11, 13, payload, expires, 9 if place is None else place)


def test_a_place_of_zero_is_a_place() -> None:
    record = rec.put(7, 9, 11, 13, b"x", 0, 0)
    assert rec.place(record) == 0
    assert rec.place(rec.replaced(record, 7, b"y", 0, 0)) == 0


@given(U64, U64)
def test_ids_compare_as_bytes(a: int, b: int) -> None:
    first, second = (rec.put(1, i, 0, 0, b"")[8:16] for i in (a, b))
    assert (first < second) == (a < b)


def test_layout() -> None:
    """The layout that the module describes, spelt out: a journal outlives the version that wrote it."""
    assert rec.put(0x010203040506, 0x0708090A0B0C0D0E, 0x1112131415161718, 0x191A1B1C, b"body", 0x21, -2) == (
        bytes.fromhex("01 03 010203040506 0708090a0b0c0d0e 1112131415161718 191a1b1c 00000004")
        + bytes.fromhex("0000000000000021 fffffffffffffffe")
        + b"body"
    )
    assert rec.ack((5).to_bytes(8, "big")) == bytes.fromhex("02 0000000000000005")
    assert rec.name(0x010203040506, b"jobs") == bytes.fromhex("03 04 010203040506") + b"jobs"
    assert rec.drop(0x010203040506, 9) == bytes.fromhex("04 00 010203040506 0000000000000009")
    assert rec.wipe(9) == bytes.fromhex("05 0000000000000009")
    assert rec.replaced(rec.put(1, 2, 3, 4, b"old"), 5, b"new", 6, 0) == (
        bytes.fromhex("06 00 000000000005 0000000000000002 0000000000000003 00000006 00000003") + b"new"
    )


@given(QUEUES, st.binary(min_size=1, max_size=255))
def test_a_name_is_any_bytes(queue: int, name: bytes) -> None:
    record = rec.name(queue, name)
    assert record[0] == rec.NAME
    assert record[1] == len(name)
    assert int.from_bytes(record[2:8], "big") == queue
    assert record[rec.NAME_HEAD.size :] == name


@given(QUEUES, U64, PAYLOADS, U64, PLACES, U64, U64, st.integers(0, 2**48 - 1))
def test_every_field_is_found_whichever_others_are_there(
    queue: int,
    item_id: int,
    payload: bytes,
    expires: int,
    place: int | None,
    ready_at: int,
    deliveries: int,
    origin: int,
) -> None:
    record = rec.put(queue, item_id, 5, 6, payload, expires, place, ready_at, deliveries, origin)
    assert_reads(record, item_id, 5, 6, payload, expires, item_id if place is None else place)
    assert (rec.ready_at(record), rec.deliveries(record), rec.origin(record)) == (ready_at, deliveries, origin)
    assert rec.own_place(record) == place


@given(PAYLOADS, U64, PLACES, PLACES, U64, U64, st.integers(0, 2**48 - 1))
def test_a_move_keeps_the_item_and_changes_all_else(
    payload: bytes, expires: int, place: int | None, new_place: int | None, ready_at: int, deliveries: int, origin: int
) -> None:
    old = rec.put(1, 40, 5, 6, payload, expires, place, deliveries, origin, ready_at % 2**48)
    new = rec.moved(old, 2, place=new_place, ready_at=ready_at, deliveries=deliveries, origin=origin)
    assert (
        new
        == bytes([rec.REWRITE]) + rec.put(2, 40, 5, 6, payload, expires, new_place, ready_at, deliveries, origin)[1:]
    )


def test_a_replacement_keeps_the_losses_and_ends_the_delay() -> None:
    old = rec.put(1, 40, 5, 6, b"old", 0, -3, ready_at=9, deliveries=4, origin=7)
    new = rec.replaced(old, 1, b"new", 6, 0, origin=8)
    assert (rec.place(new), rec.ready_at(new), rec.deliveries(new), rec.origin(new)) == (-3, 0, 4, 8)
