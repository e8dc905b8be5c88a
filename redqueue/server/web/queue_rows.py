"""What the JSON API says of a queue, and queues sorted and searched, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import fields
from heapq import merge
from itertools import islice
from typing import Any

from redqueue.engine.inspection import count_consumers, count_delayed
from redqueue.engine.queue import Queue
from redqueue.server.figures import COUNTED, ServerFigures
from redqueue.server.web.dead_letters import count_dead, dead_letter_names, is_grave
from redqueue.server.web.history import History
from redqueue.server.web.names import in_path, shown

SLICE = 1000
"""Queues looked at in one turn of the loop."""
ROWS = 100
"""Rows made in one turn."""


def row(history: History, queue: Queue) -> dict[str, Any]:
    """The figures of a queue. ``oldest_age`` is in seconds, null where nothing is ready; rates are per second."""
    broker = history.broker
    return {
        "name": shown(queue.name),
        "name_url": in_path(queue.name),
        "items": queue.items,
        "ready": len(queue.ready),
        "reserved": queue.reserved,
        "delayed": count_delayed(queue),
        "dead": count_dead(broker, queue),
        "bytes": queue.bytes,
        "memory_items": queue.items - queue.cold_items,
        "oldest_age": None if queue.ready.first() is None else round(queue.age(), 3),
        "consumers": count_consumers(queue),
        "waiters": len(queue.waiters),
        "paused": queue.paused,
        "takes_dead_letters": is_grave(queue.name, dead_letter_names(broker)),
        "created": queue.created / 1e9,
        **{f"{name}_total": count(queue) for name, count in COUNTED.items()},
        **history.rates(queue).figures(),
    }


def details(history: History, queue: Queue) -> dict[str, Any]:
    """:func:`row`, the settings in force, and what the queue is connected with."""
    settings = queue.settings
    dead_letter = settings.dead_letter_of(queue.name)
    return {
        **row(history, queue),
        "resumes_in": history.broker.paused_seconds(queue),
        "settings": {each.name: getattr(settings, each.name) for each in fields(settings) if each.init},
        "dead_letter": shown(dead_letter),
        "dead_letter_url": in_path(dead_letter),
        "children": [{"name": shown(name), "name_url": in_path(name)} for name in queue.children],
    }


SORTS: dict[str, Callable[[History, Queue], Any]] = {
    "name": lambda history, queue: queue.name,
    "items": lambda history, queue: queue.items,
    "ready": lambda history, queue: len(queue.ready),
    "reserved": lambda history, queue: queue.reserved,
    "delayed": lambda history, queue: count_delayed(queue),
    "dead": lambda history, queue: count_dead(history.broker, queue),
    "bytes": lambda history, queue: queue.bytes,
    "oldest_age": lambda history, queue: queue.age(),
    "consumers": lambda history, queue: count_consumers(queue),
    "waiters": lambda history, queue: len(queue.waiters),
    "put_total": lambda history, queue: queue.total_items,
    "delivered_total": lambda history, queue: queue.total_reserved,
    "acknowledged_total": lambda history, queue: queue.acknowledged,
    "put_rate": lambda history, queue: history.rates(queue).put,
    "delivered_rate": lambda history, queue: history.rates(queue).delivered,
    "acknowledged_rate": lambda history, queue: history.rates(queue).acknowledged,
}
"""By what queues can be sorted."""


async def in_order(
    history: History, sort: str, is_descending: bool, wanted: Callable[[bytes], bool]
) -> tuple[int, Iterator[Queue]]:
    """How many queues are ``wanted``, by their names, and those queues in order; other clients are served meanwhile.

    :param sort: one of :data:`SORTS`; where it says the same of two queues they stand by name
    """
    value = SORTS[sort]
    sign = -1 if is_descending and sort != "name" else 1
    runs: list[list[tuple[Any, bytes, Queue]]] = []
    queues = list(history.broker.queues.values())
    for start in range(0, len(queues), SLICE):
        run = [
            (value(history, queue) * sign if sign < 0 else value(history, queue), queue.name, queue)
            for queue in queues[start : start + SLICE]
            if wanted(queue.name)
        ]
        run.sort(reverse=is_descending and sign > 0)
        runs.append(run)
        await asyncio.sleep(0)
    merged = merge(*runs, reverse=is_descending and sign > 0)
    return sum(map(len, runs)), (queue for _, _, queue in merged)


async def page(
    history: History, sort: str, is_descending: bool, wanted: Callable[[bytes], bool], offset: int, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many queues are wanted, and the rows of up to ``limit`` of them from ``offset`` on; see :func:`in_order`."""
    total, queues = await in_order(history, sort, is_descending, wanted)
    left = min(offset, total)
    while left:
        skipped = sum(1 for _ in islice(queues, min(left, SLICE)))
        left -= skipped
        await asyncio.sleep(0)
    rows: list[dict[str, Any]] = []
    while some := [row(history, queue) for queue in islice(queues, min(ROWS, limit - len(rows)))]:
        rows += some
        await asyncio.sleep(0)
    return total, rows


async def totals(figures: ServerFigures) -> dict[str, int]:
    """The sums of all queues, counted while other clients are served.

    An item is ready, reserved, delayed or dead. What has been counted since the start is with the queues that are gone.
    """
    broker = figures.broker
    sums = dict.fromkeys(("queues", "ready", "reserved", "delayed", "dead", "bytes", "waiters"), 0)
    tally = figures.departed.copy()
    graves = dead_letter_names(broker)
    queues = list(broker.queues.values())
    for start in range(0, len(queues), SLICE):
        for queue in queues[start : start + SLICE]:
            sums["dead" if is_grave(queue.name, graves) else "ready"] += len(queue.ready)
            sums["reserved"] += queue.reserved
            sums["delayed"] += count_delayed(queue)
            sums["bytes"] += queue.bytes
            sums["waiters"] += len(queue.waiters)
            tally.add(queue)
        await asyncio.sleep(0)
    sums["queues"] = len(queues)
    return sums | {f"{name}_total": value for name, value in tally.figures()}
