"""The delayed items of a queue, which are not ready before a moment.

A delay runs on the monotonic clock, which nobody sets; what the journal keeps is
the wall-clock moment, which is turned into a delay again when it is replayed.
However many items are delayed, the queue has one deadline for them, that of the
earliest.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, heapreplace, merge

from redqueue.engine.clock import Clock
from redqueue.engine.deadlines import Deadlines
from redqueue.journal import record as rec

LONGEST = 100 * 365 * 86400.0
"""Seconds; a longer delay is as good as this one, and its moment would not fit a record."""
PROMOTE_MOST = 1000
"""Items made ready in one go."""
_NEAR = 8192
"""Moments kept in a heap; when there are more, the later half becomes a run."""
_ID_BITS = 64
_ID_MASK = (1 << _ID_BITS) - 1


def ready_at(clock: Clock, delay: float) -> int:
    """The wall-clock moment (nanoseconds) that is ``delay`` seconds from now; 0 for no delay."""
    return clock.wall + int(delay * 1e9) if delay else 0


class Moments:
    """Pairs of a moment and an id, the earliest first; 16 bytes each.

    Late ones are in runs: arrays sorted backwards, so that the earliest of a run
    is taken from its end. A heap has the few that are next, and one has the first
    of each run.
    """

    __slots__ = ("_near", "_runs")

    def __init__(self) -> None:
        self._near: list[int] = []
        self._runs: list[tuple[int, int, array[int]]] = []

    def __len__(self) -> int:
        return len(self._near) + sum(1 + len(run) // 2 for _, _, run in self._runs)

    def push(self, moment: int, item_id: int) -> None:
        """Add a pair; both numbers are under 2**64."""
        near = self._near
        heappush(near, moment << _ID_BITS | item_id)
        if len(near) > _NEAR:
            self._spill()

    def first(self) -> tuple[int, int] | None:
        """The earliest pair, or None."""
        near, runs = self._near, self._runs
        if runs and (not near or runs[0][0] < near[0]):
            pair = runs[0][0]
        elif near:
            pair = near[0]
        else:
            return None
        return pair >> _ID_BITS, pair & _ID_MASK

    def pop(self) -> None:
        """Remove the earliest pair, of which there must be one."""
        near, runs = self._near, self._runs
        if not runs or (near and near[0] < runs[0][0]):
            heappop(near)
            return
        _, number, run = runs[0]
        if run:
            moment, item_id = run.pop(), run.pop()
            heapreplace(runs, (moment << _ID_BITS | item_id, number, run))
        else:
            heappop(runs)

    def ids(self) -> Iterator[int]:
        """All ids, in no order."""
        for pair in self._near:
            yield pair & _ID_MASK
        for pair, _, run in self._runs:
            yield pair & _ID_MASK
            yield from run[0::2]

    def in_order(self) -> Iterator[tuple[int, int]]:
        """The pairs, the earliest first; each costs little, however many there are."""
        for pair in merge(sorted(self._near), *map(_pairs_of_run, self._runs)):
            yield pair >> _ID_BITS, pair & _ID_MASK

    def _spill(self) -> None:
        near = self._near
        near.sort()
        half = len(near) // 2
        run: array[int] = array("Q")
        for pair in reversed(near[half:]):
            run.append(pair & _ID_MASK)
            run.append(pair >> _ID_BITS)
        del near[half:]
        moment, item_id = run.pop(), run.pop()
        number = 1 + max((number for _, number, _ in self._runs), default=0)
        heappush(self._runs, (moment << _ID_BITS | item_id, number, run))


def _pairs_of_run(entry: tuple[int, int, array[int]]) -> Iterator[int]:
    """A run's pairs, the earliest first."""
    first, _, run = entry
    yield first
    for i in range(len(run) - 1, 0, -2):
        yield run[i] << _ID_BITS | run[i - 1]


class Delayed:
    """Items that wait for their moment.

    :param deadlines: wakes it at the earliest moment
    :param make_ready: called with a record, and its deliveries so far, whose moment has come
    :param make_ready_cold: the same for an item that is not in memory: with its id, its place and its deliveries
    """

    __slots__ = (
        "_deadlines",
        "_deliveries",
        "_make_ready",
        "_make_ready_cold",
        "_moments",
        "_places",
        "_records",
        "deadline",
    )

    def __init__(
        self,
        deadlines: Deadlines,
        make_ready: Callable[[bytes, int], None],
        make_ready_cold: Callable[[int, int, int], None],
    ) -> None:
        self._deadlines = deadlines
        self._make_ready = make_ready
        self._make_ready_cold = make_ready_cold
        self._moments = Moments()
        self._records: dict[int, bytes] = {}
        self._deliveries: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self.deadline: float | None = None

    def __len__(self) -> int:
        return len(self._moments)

    def __iter__(self) -> Iterator[bytes | int]:
        """The records, or the ids of those that are not in memory, in no order."""
        return (self._records.get(item_id, item_id) for item_id in self._moments.ids())

    def in_order(self) -> Iterator[tuple[bytes | int, int, float]]:
        """The record, or the id where that is not in memory, the deliveries so far and the monotonic moment of each
        item, the earliest first; each costs little, however many there are."""
        for moment, item_id in self._moments.in_order():
            yield self._records.get(item_id, item_id), self._deliveries.get(item_id, 0), moment / 1e9

    def add(self, record: bytes, due: float, deliveries: int) -> None:
        """Keep an item until the monotonic moment ``due`` (seconds)."""
        item_id = rec.item_id(record)
        self._records[item_id] = record
        self._add(item_id, due, deliveries)

    def add_cold(self, item_id: int, place: int, due: float, deliveries: int) -> None:
        """Keep an item that is not in memory until the monotonic moment ``due`` (seconds)."""
        if place != item_id:
            self._places[item_id] = place
        self._add(item_id, due, deliveries)

    def evict(self, most: int) -> list[bytes]:
        """Put up to ``most`` items out of memory; returns their records."""
        evicted: list[bytes] = []
        while self._records and len(evicted) < most:
            item_id, record = self._records.popitem()
            if (place := rec.place(record)) != item_id:
                self._places[item_id] = place
            evicted.append(record)
        return evicted

    def _add(self, item_id: int, due: float, deliveries: int) -> None:
        if deliveries:
            self._deliveries[item_id] = deliveries
        self._moments.push(max(0, math.ceil(due * 1e9)), item_id)
        if self.deadline is None or due < self.deadline:
            self._deadlines.set(self, due)

    def expire(self, now: float) -> None:
        """The earliest moment has come: make ready what is due, a bounded number of items."""
        moments = self._moments
        due = int(now * 1e9) + 1  # no float has a nanosecond's precision after some weeks
        for _ in range(PROMOTE_MOST):
            first = moments.first()
            if first is None:
                return
            if first[0] > due:
                self._deadlines.set(self, max(first[0] / 1e9, math.nextafter(now, math.inf)))
                return
            moments.pop()
            item_id = first[1]
            record, deliveries = self._records.pop(item_id, None), self._deliveries.pop(item_id, 0)
            if record is not None:
                self._make_ready(record, deliveries)
            else:
                self._make_ready_cold(item_id, self._places.pop(item_id, item_id), deliveries)
        if len(self):
            self._deadlines.set(self, math.nextafter(now, math.inf))  # in another turn of the loop

    def clear(self) -> Iterator[int]:
        """Remove all items; returns their ids, to be taken in pieces: with each of them its record is let go."""
        moments, records = self._moments, self._records
        self._moments, self._records, self._deliveries, self._places = Moments(), {}, {}, {}
        self._deadlines.clear(self)

        def ids() -> Iterator[int]:
            for item_id in moments.ids():
                records.pop(item_id, None)
                yield item_id

        return ids()
