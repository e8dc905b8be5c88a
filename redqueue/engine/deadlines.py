"""One heap of moments at which something must happen; nothing ever scans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

_REBUILD_ABOVE: Final = 512


class Timed(Protocol):
    """Something with at most one deadline."""

    deadline: float | None

    def expire(self, now: float) -> None:
        """Called once the deadline has passed; ``deadline`` is None by then."""


class Deadlines:
    """Deadlines on the monotonic clock, in seconds.

    An entry whose object has since got another deadline, or none, is stale. It
    stays in the heap until it surfaces, or until more than half of the heap is
    stale and the heap is built anew, so that a server that reserves and
    acknowledges all day holds no more than twice what is really pending.

    :param on_earlier: called with a moment that lies before :attr:`armed`, so
        that the owner of the timer can set it forward.
    """

    def __init__(self, on_earlier: Callable[[float], None] | None = None) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._order = itertools.count().__next__
        self._stale = 0
        self.on_earlier = on_earlier
        self.armed = math.inf

    def __len__(self) -> int:
        return len(self._heap) - self._stale

    def set(self, timed: Timed, when: float) -> None:
        """Give ``timed`` the deadline ``when`` (monotonic seconds), instead of any it has."""
        if timed.deadline is not None:
            if timed.deadline == when:
                return
            self._stale += 1
        timed.deadline = when
        heappush(self._heap, (when, self._order(), timed))
        if when < self.armed:
            self.armed = when
            if self.on_earlier is not None:
                self.on_earlier(when)

    def clear(self, timed: Timed) -> None:
        """Take the deadline of ``timed`` away, if it has one."""
        if timed.deadline is None:
            return
        timed.deadline = None
        self._stale = stale = self._stale + 1
        if stale > _REBUILD_ABOVE and stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].deadline == entry[0]]
            heapify(self._heap)
            self._stale = 0

    def earliest(self) -> float:
        """The first pending deadline, monotonic seconds; infinity where there is none."""
        heap = self._heap
        while heap:
            when, _, timed = heap[0]
            if timed.deadline == when:
                return when
            heappop(heap)
            self._stale -= 1
        return math.inf

    def fire(self, now: float, most: int = 1000) -> bool:
        """Expire what is due at ``now``, at most ``most`` objects.

        :returns: whether something due is left for another call
        """
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, timed = heappop(heap)
            if timed.deadline != when:
                self._stale -= 1
                continue
            if not most:
                heappush(heap, (when, self._order(), timed))
                return True
            most -= 1
            timed.deadline = None
            timed.expire(now)
            heap = self._heap
        self.armed = self.earliest()
        return False
