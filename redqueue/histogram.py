"""How often something took how long."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Counts by size, for as long as the process lives.

    One thread observes; others may look meanwhile, and see an observation in one figure and not yet in another.

    :param bounds: the upper bound of each bucket, ascending; values above the last one are counted, too

    :ivar sum: of all values
    """

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """How many values were no greater than each bound, and how many there were."""
        return [*accumulate(self._counts)]
