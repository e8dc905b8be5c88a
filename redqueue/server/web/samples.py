"""Samples of depth and rates over time, in arrays of a fixed length."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple


class Range(NamedTuple):
    """How far back samples reach, and how far they are from each other, in seconds."""

    seconds: int
    step: int


RANGES = {"5m": Range(300, 1), "3h": Range(10_800, 30), "24h": Range(86_400, 300)}


RATED = ("put", "delivered", "acknowledged")
"""Of what there are rates."""


class Rates(NamedTuple):
    """Items a second."""

    put: float = 0.0
    delivered: float = 0.0
    acknowledged: float = 0.0

    def figures(self) -> dict[str, float]:
        """The rates by the names that the API has for them."""
        return {f"{name}_rate": round(rate, 3) for name, rate in self._asdict().items()}


class Reading(NamedTuple):
    """What is in a queue or in all of them, and what has ever happened there."""

    ready: int = 0
    reserved: int = 0
    delayed: int = 0
    dead: int = 0
    put: int = 0
    delivered: int = 0
    acknowledged: int = 0


class Samples:
    """The samples of one range: a ring of them, in arrays."""

    DEPTHS = ("ready", "reserved", "delayed", "dead")
    RATES = tuple(f"{name}_rate" for name in RATED)

    def __init__(self, span: Range) -> None:
        self._span = span
        self._capacity = span.seconds // span.step + 1
        self._oldest = 0
        self._times = array("d")
        self._depths = [array("Q") for _ in self.DEPTHS]
        self._rates = [array("f") for _ in self.RATES]
        self._last: tuple[float, Reading] | None = None

    def begin(self, now: float, reading: Reading) -> None:
        """Count from here on."""
        self._last = (now, reading)

    def add(self, now: float, wall: float, reading: Reading) -> None:
        """Take a sample, if it is time for one.

        :param now: monotonic seconds
        :param wall: Unix time, seconds
        """
        if self._last is None:
            self._last = (now, reading)
            return
        since, before = self._last
        elapsed = now - since
        if elapsed < self._span.step - 0.5:
            return
        self._last = (now, reading)
        self._append(wall, reading, rates_between(before, reading, elapsed))

    def _append(self, wall: float, reading: Reading, rates: Rates) -> None:
        columns: tuple[array[Any], ...] = (self._times, *self._depths, *self._rates)
        depths = (max(0, depth) for depth in reading[: len(self.DEPTHS)])
        values = (round(wall, 3), *depths, *rates)
        if len(self._times) < self._capacity:
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            return
        for column, value in zip(columns, values, strict=True):
            column[self._oldest] = value
        self._oldest = (self._oldest + 1) % self._capacity

    def after(self, since: float) -> dict[str, list[Any]]:
        """The columns of the samples that are later than the Unix time ``since``, the oldest first."""
        times = self._in_order(self._times)
        start = next((i for i, time in enumerate(times) if time > since), len(times))
        columns: dict[str, list[Any]] = {"time": times[start:]}
        for name, depths in zip(self.DEPTHS, self._depths, strict=True):
            columns[name] = self._in_order(depths)[start:]
        for name, rates in zip(self.RATES, self._rates, strict=True):
            columns[name] = [round(rate, 3) for rate in self._in_order(rates)[start:]]
        return columns

    def _in_order(self, column: array[Any]) -> list[Any]:
        return (column[self._oldest :] + column[: self._oldest]).tolist()


class Track:
    """The samples of one queue, or of all together, in every range."""

    def __init__(self) -> None:
        self._samples = {name: Samples(span) for name, span in RANGES.items()}
        self.flat_since: float | None = None
        """Since when, Unix time, nothing had changed before the first sample."""

    def begin(self, now: float, reading: Reading) -> None:
        """Count from here on."""
        for samples in self._samples.values():
            samples.begin(now, reading)

    def add(self, now: float, wall: float, reading: Reading) -> None:
        """Take a sample in every range for which it is time."""
        for samples in self._samples.values():
            samples.add(now, wall, reading)

    def columns(self, name: str, since: float, wall: float) -> dict[str, Any]:
        """The samples of the range ``name`` later than the Unix time ``since``.

        ``is_continued`` tells that nothing is missing between ``since`` and the first of them.
        """
        span = RANGES[name]
        found = self._samples[name].after(max(since, wall - span.seconds - span.step))
        times = found["time"]
        if self.flat_since is not None and times and since < self.flat_since:
            begin = max(self.flat_since, wall - span.seconds)
            if begin < times[0] - span.step:
                _prepend_flat(found, begin, times[0] - span.step)
        return {"range": name, "seconds": span.seconds, "step": span.step, "is_continued": since > 0, **found}


def _prepend_flat(columns: dict[str, list[Any]], begin: float, end: float) -> None:
    """Two samples that say: nothing has changed from ``begin`` to ``end``."""
    for name, column in columns.items():
        if name == "time":
            column[:0] = [round(begin, 3), round(end, 3)]
        else:
            column[:0] = [0, 0] if name in Samples.RATES else [column[0]] * 2


NO_RATES = Rates()


def rates_between(before: Reading, after: Reading, seconds: float) -> Rates:
    """Items a second, from two readings of the same counters."""
    return Rates(
        max(0, after.put - before.put) / seconds,
        max(0, after.delivered - before.delivered) / seconds,
        max(0, after.acknowledged - before.acknowledged) / seconds,
    )
