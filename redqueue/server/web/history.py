"""What has been: depth and rates over time, for the charts of the page.

The engine counts; here its counters are looked at now and then, and what they
said is kept in arrays of a fixed length. All queues are looked at in rounds, a
slice in each turn of the loop, which gives the totals and every queue's rates. A
hundred queues are tracked with samples of their own each second: those that
somebody looks at, and those with the most traffic. A queue that is not tracked
and in which nothing has changed needs no samples: its line is flat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heappush, heapreplace
from itertools import islice
from typing import Any

from redqueue.engine.broker import Broker
from redqueue.engine.inspection import count_delayed
from redqueue.engine.queue import Queue
from redqueue.server.web.dead_letters import count_dead, dead_letter_names, is_grave
from redqueue.server.web.samples import NO_RATES, Rates, Reading, Samples, Track, rates_between

SECOND = 1.0
SLICE = 500
"""Queues looked at in one turn of the loop."""
TURN_SECONDS = 0.05
QUEUES_PER_SECOND = 5000
"""A round takes a second, or longer where there are more queues than this."""
MOST_TRACKED = 100
ASKED_SECONDS = 600.0
"""A queue stays tracked for so long after somebody has looked at its history."""
_SMOOTHING = 0.05
_CLEARLY_MORE = 2.0
"""So many times the traffic of a tracked queue is a reason to track another one instead."""


class _Seen:
    """What a queue said in the last round.

    :ivar mark: changes with whatever happens in the queue
    :ivar at: when that was, monotonic seconds
    :ivar changed: when it said something new, Unix time in seconds
    """

    __slots__ = ("at", "changed", "mark", "queue", "rates", "reading")

    def __init__(self, queue: Queue, at: float, changed: float) -> None:
        self.queue = queue
        self.at = at
        self.changed = changed
        self.mark: tuple[int, ...] = ()
        self.reading = Reading()
        self.rates = NO_RATES


class _Tracked:
    """A queue with samples of its own.

    :ivar queue: None while there is no queue of that name
    :ivar traffic: items a second in and out, smoothed
    :ivar asked: when its history was looked at, monotonic seconds
    """

    __slots__ = ("asked", "at", "offset", "queue", "reading", "track", "traffic")

    def __init__(self, queue: Queue, now: float, reading: Reading, traffic: float) -> None:
        self.queue: Queue | None = queue
        self.at = now
        self.reading = reading
        self.offset = Reading()
        self.traffic = traffic
        self.asked = -math.inf
        self.track = Track()
        self.track.begin(now, reading)


class History:
    """Samples of all queues together and of the tracked ones, and the rates of each.

    :param broker: the engine, of which only counters are read
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._seen: dict[bytes, _Seen] = {}
        self._tracked: dict[bytes, _Tracked] = {}
        self._total = Track()
        self._total_reading = Reading()
        self._total_rates = NO_RATES
        self._round: Iterator[Queue] | None = None
        self._sums = [0] * len(Reading())
        self._busy: list[tuple[float, bytes]] = []
        self._graves: set[bytes] = set()
        broker.clock.tick()
        now = broker.clock.now
        self._next_second = self._next_round = now
        self._last_round = now
        self._total.begin(now, self._total_reading)

    # -- looking --------------------------------------------------------------------

    def turn(self) -> float:
        """Look at what is due; returns the seconds until something is due again."""
        clock = self.broker.clock
        clock.tick()
        now, wall = clock.now, clock.wall / 1e9
        if now >= self._next_second:
            self._next_second = now + SECOND
            self._sample_tracked(now, wall)
        if self._round is None and now >= self._next_round:
            self._begin_round(now)
        if self._round is not None and self._look_at_some(now, wall):
            self._end_round(now, wall)
        next_look = self._next_round if self._round is None else now + TURN_SECONDS
        return max(0.0, min(self._next_second, next_look) - now)

    def _begin_round(self, now: float) -> None:
        broker = self.broker
        queues = list(broker.queues.values())
        self._round = iter(queues)
        self._next_round = now + max(SECOND, len(queues) / QUEUES_PER_SECOND)
        self._sums = [0, 0, 0, 0, *self._total_reading[4:]]
        self._busy = []
        self._graves = dead_letter_names(broker)

    def _look_at_some(self, now: float, wall: float) -> bool:
        """Look at the next queues of the round; returns whether those were the last."""
        assert self._round is not None
        sums, known, graves = self._sums, self._seen, self._graves
        queues = list(islice(self._round, SLICE))
        for queue in queues:
            name, items = queue.name, queue.items
            reserved = len(queue.reservations) + len(queue.timed)
            delayed = 0 if queue.delayed is None else len(queue.delayed)
            mark = (items, reserved, delayed, queue.total_items, queue.total_reserved)
            sums[3 if is_grave(name, graves) else 0] += items - reserved - delayed
            sums[1] += reserved
            sums[2] += delayed
            seen = known.get(name)
            if seen is None or seen.queue is not queue:
                seen = known[name] = _Seen(queue, self._last_round, wall)
            if mark != seen.mark:
                self._note_change(seen, mark, now, wall)
            else:
                seen.rates = NO_RATES
            seen.at = now
        return len(queues) < SLICE

    def _note_change(self, seen: _Seen, mark: tuple[int, ...], now: float, wall: float) -> None:
        queue = seen.queue
        before, after = seen.reading, self._read(queue)
        seen.mark, seen.reading, seen.changed = mark, after, wall
        seen.rates = rates_between(before, after, max(now - seen.at, TURN_SECONDS))
        for i in (4, 5, 6):
            self._sums[i] += max(0, after[i] - before[i])
        if queue.name not in self._tracked:
            self._note_traffic(sum(seen.rates), queue.name)

    def _note_traffic(self, traffic: float, name: bytes) -> None:
        """Remember the queues with the most traffic of the round."""
        if len(self._busy) < MOST_TRACKED:
            heappush(self._busy, (traffic, name))
        elif self._busy[0][0] < traffic:
            heapreplace(self._busy, (traffic, name))

    def _end_round(self, now: float, wall: float) -> None:
        self._round = None
        before, self._total_reading = self._total_reading, Reading(*self._sums)
        self._total_rates = rates_between(before, self._total_reading, max(now - self._last_round, TURN_SECONDS))
        self._last_round = now
        self._total.add(now, wall, self._total_reading)
        queues = self.broker.queues
        if len(self._seen) > len(queues):
            self._seen = {name: seen for name, seen in self._seen.items() if queues.get(name) is seen.queue}
        for traffic, name in sorted(self._busy, reverse=True):
            if not self._has_place(now, traffic):
                break
            if name in self._seen:
                self._begin_to_track(self._seen[name], traffic)

    def _read(self, queue: Queue) -> Reading:
        return Reading(
            len(queue.ready),
            queue.reserved,
            count_delayed(queue),
            count_dead(self.broker, queue),
            queue.total_items,
            queue.total_reserved,
            queue.acknowledged,
        )

    # -- tracked queues ---------------------------------------------------------------

    def _sample_tracked(self, now: float, wall: float) -> None:
        for name, tracked in self._tracked.items():
            queue = self.broker.queues.get(name)
            if queue is None:
                tracked.queue = None
                reading = Reading(0, 0, 0, 0, *tracked.reading[4:])
            else:
                reading = self._read(queue)
                if queue is not tracked.queue:  # one of the same name before it has gone, with its counters
                    tracked.queue = queue
                    tracked.offset = Reading(0, 0, 0, 0, *tracked.reading[4:])
                if any(tracked.offset):
                    counted = (own + before for own, before in zip(reading[4:], tracked.offset[4:], strict=True))
                    reading = Reading(*reading[:4], *counted)
            rates = rates_between(tracked.reading, reading, max(now - tracked.at, TURN_SECONDS))
            tracked.traffic += _SMOOTHING * (sum(rates) - tracked.traffic)
            tracked.at, tracked.reading = now, reading
            tracked.track.add(now, wall, reading)

    def _begin_to_track(self, seen: _Seen, traffic: float) -> _Tracked:
        """Track a queue, from what it said in the last round on."""
        tracked = self._tracked[seen.queue.name] = _Tracked(seen.queue, seen.at, seen.reading, traffic)
        tracked.track.flat_since = seen.changed
        return tracked

    def _has_place(self, now: float, traffic: float) -> bool:
        """Whether one more queue can be tracked; if need be one with clearly less traffic is tracked no longer."""
        if len(self._tracked) < MOST_TRACKED:
            return True
        name, least = min(
            ((name, each) for name, each in self._tracked.items() if now - each.asked > ASKED_SECONDS),
            key=lambda entry: entry[1].traffic,
            default=(b"", None),
        )
        if least is None or traffic < _CLEARLY_MORE * least.traffic:
            return False
        del self._tracked[name]
        return True

    def tracked(self) -> set[bytes]:
        """The names of the queues that are tracked."""
        return set(self._tracked)

    # -- what was seen -------------------------------------------------------------------

    def rates(self, queue: Queue) -> Rates:
        """The rates of a queue, of the last round."""
        seen = self._seen.get(queue.name)
        return NO_RATES if seen is None or seen.queue is not queue else seen.rates

    def totals(self) -> dict[str, float]:
        """The number of queues, their sums and their rates, of the last round."""
        depths = dict(zip(Samples.DEPTHS, self._total_reading, strict=False))
        return {"queues": len(self.broker.queues), **depths, **self._total_rates.figures()}

    def of_all(self, name: str, since: float) -> dict[str, Any]:
        """The samples of all queues together, as :meth:`Track.columns` gives them."""
        return self._total.columns(name, since, self.broker.clock.wall / 1e9)

    def of_queue(self, queue_name: bytes, name: str, since: float) -> dict[str, Any] | None:
        """The samples of one queue, which is tracked from here on; None where there is none of that name."""
        clock = self.broker.clock
        clock.tick()
        tracked = self._tracked.get(queue_name)
        if tracked is None:
            seen = self._seen.get(queue_name)
            if seen is None:
                queue = self.broker.queues.get(queue_name)
                if queue is None:
                    return None
                seen = _Seen(queue, clock.now, clock.wall / 1e9)
                seen.reading = self._read(queue)
            if len(self._tracked) >= MOST_TRACKED and not self._has_place(clock.now, math.inf):
                del self._tracked[min(self._tracked, key=lambda name: self._tracked[name].asked)]
            tracked = self._begin_to_track(seen, 0.0)
        tracked.asked = clock.now
        return tracked.track.columns(name, since, clock.wall / 1e9)
