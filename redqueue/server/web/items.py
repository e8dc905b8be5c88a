"""Looking at the items of a queue, wherever they are: in memory or in the journal."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from redqueue.engine import inspection
from redqueue.engine.broker import Broker
from redqueue.engine.consumer import Consumer
from redqueue.engine.inspection import Found
from redqueue.engine.queue import Queue
from redqueue.journal import record as rec
from redqueue.server.figures import ServerFigures
from redqueue.server.web.names import in_path, shown

DEEPEST = 10_000
"""So many items of a queue can be looked at in each state."""

STATES = {"ready": inspection.ready, "reserved": inspection.reserved, "delayed": inspection.delayed}


COUNTS: dict[str, Callable[[Queue], int]] = {
    "ready": lambda queue: len(queue.ready),
    "reserved": lambda queue: queue.reserved,
    "delayed": inspection.count_delayed,
}


def count_in(queue: Queue, state: str) -> int:
    """How many items of a queue are in one of :data:`STATES`."""
    return COUNTS[state](queue)


async def items_of(
    figures: ServerFigures, queue: Queue, state: str, offset: int, limit: int, payload_limit: int
) -> list[dict[str, Any]]:
    """The items of a queue in one of :data:`STATES`, as JSON says them.

    :param payload_limit: bytes of each payload
    """
    broker = figures.broker
    broker.clock.tick()
    found = [*islice(STATES[state](queue), offset, offset + limit)]
    holders = _holders(figures, found)
    records = await _records(broker, found)
    return [
        _item(broker, each, record, holders, state, payload_limit)
        for each, record in zip(found, records, strict=True)
        if record is not None
    ]


async def _records(broker: Broker, found: list[Found]) -> Iterator[bytes | None]:
    """The records of what was found; None for one that has gone while it was being read back."""
    cold = [each.entry for each in found if isinstance(each.entry, int)]
    read = await _read(broker, cold)
    if read is None:  # one has gone, and with it perhaps its segment: what is still there is read one by one
        read = {}
        for item_id in cold:
            read |= await _read(broker, [item_id]) or {}
    back = read
    return (back.get(each.entry) if isinstance(each.entry, int) else each.entry for each in found)


async def _read(broker: Broker, ids: list[int]) -> dict[int, bytes] | None:
    if not ids:
        return {}
    answer: asyncio.Future[dict[int, bytes] | None] = asyncio.get_running_loop().create_future()

    def done(records: list[bytes] | None, error: BaseException | None) -> None:
        if not answer.done():
            answer.set_result(None if records is None else dict(zip(ids, records, strict=True)))

    broker.journal.read(ids, done)
    return await answer


def _holders(figures: ServerFigures, found: list[Found]) -> dict[Consumer, str]:
    """Who has what was found: the address of a connection, or the name of a named consumer."""
    wanted = {each.consumer for each in found} - {None}
    if not wanted:
        return {}
    holders = {consumer: f"as {shown(name)}" for name, consumer in figures.broker.named.items() if consumer in wanted}
    for connection in figures.connections:
        consumer = connection.session.consumer
        if consumer in wanted:
            holders[consumer] = connection.describe()
    return holders


def _item(
    broker: Broker, found: Found, record: bytes, holders: dict[Consumer, str], state: str, payload_limit: int
) -> dict[str, Any]:
    clock = broker.clock
    payload, expires = rec.payload(record), rec.expires(record)
    lost = rec.deliveries(record)
    item: dict[str, Any] = {
        "id": rec.item_id(record),
        "size": len(payload),
        "flags": rec.flags(record),
        "time": rec.time(record) / 1e9,
        "age": round(max(0, clock.wall - rec.time(record)) / 1e9, 3),
        "ttl": round((expires - clock.wall) / 1e9, 3) if expires else None,
        "deliveries": max(lost, found.deliveries or 0),
        "losses": lost,
        "payload_base64": b64encode(payload[:payload_limit]).decode(),
        "truncated": len(payload) > payload_limit,
    }
    if state == "reserved":
        consumer = found.consumer
        item["consumer"] = holders.get(consumer, "the server itself") if consumer is not None else None
        item["ends_in"] = round(max(0.0, found.until - clock.now), 3)
    elif state == "delayed":
        item["due_in"] = round(max(0.0, found.until - clock.now), 3)
    origin = broker.origins.name_of(record)
    if origin is not None:
        item |= {"origin": shown(origin), "origin_url": in_path(origin)}
    return item
