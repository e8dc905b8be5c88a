"""What a journal is filled with to see whether its files stay bounded."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pipeline import BATCH, Exchange, Pipeline, payload, puts, takes

RECORD_BYTES = 32
"""Bytes of a journal's record of an item besides the payload."""
FRAME_BYTES = 4096
_SAMPLE_SECONDS = 0.005
_BUSY = b"busy"
_PARKED = b"parked"


class Disk:
    """The bytes that a journal takes on disk, over the bytes that live in it.

    :ivar items: that live, as the load counts them
    :ivar live: bytes of their records
    :ivar peak: the most bytes on disk
    :ivar peak_excess: the most bytes on disk above those allowed at that time: twice what lives and two segments
    """

    def __init__(self, directory: Path, segment_size: int) -> None:
        self._directory = directory
        self._segment_size = segment_size
        self._next = 0.0
        self.items = 0
        self.live = 0
        self.peak = 0
        self.peak_excess = -2 * segment_size

    @property
    def allowed(self) -> int:
        """Bytes on disk that are not too many now."""
        return 2 * self.live + 2 * self._segment_size

    def count(self, items: int, size: int) -> None:
        """So many items more, or fewer, live, with ``size`` bytes of payload each."""
        self.items += items
        self.live += items * (size + RECORD_BYTES)

    def sample(self) -> int:
        """Look, unless that was just now; returns the bytes on disk that it saw, 0 if it did not look."""
        now = time.monotonic()
        if now < self._next:
            return 0
        self._next = now + _SAMPLE_SECONDS
        used = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    used += entry.stat().st_blocks * 512
                except FileNotFoundError:  # compaction was faster
                    continue
        self.peak = max(self.peak, used)
        self.peak_excess = max(self.peak_excess, used - self.allowed)
        return used


@dataclass(frozen=True)
class Mixture:
    """A load.

    :ivar run: ``run(client, disk, bytes)``: writes about so many bytes; returns how many requests that took
    :ivar most: bytes that are written at the most, since each request writes few
    """

    title: str
    run: Callable[[Pipeline, Disk, int], int]
    most: int = 1 << 40

    def rotations(self, segment_size: int) -> float:
        """How many segments are written at the most."""
        return max(1.5, self.most / segment_size)


def _size(total: int) -> int:
    """The payload of an item, such that ``total`` bytes are some ten thousand items."""
    return 4096 if total > 128 << 20 else 512


def _turn_over(client: Pipeline, disk: Disk, total: int, first: int = 0) -> int:
    """Put and take items of one queue until ``total`` bytes are written; returns how many requests that took."""
    size = _size(total)
    count = max(BATCH, total // (size + RECORD_BYTES))
    disk.count(BATCH, size)  # at any time some are there
    for at in range(first, first + count, BATCH):
        numbers = range(at, at + BATCH)
        client.run([*puts(_BUSY, numbers, size), *takes(_BUSY, numbers, size)])
    disk.count(-BATCH, size)
    return 3 * count


def _one_parked(client: Pipeline, disk: Disk, total: int) -> int:
    client.put(_PARKED, range(1), 64)
    disk.count(1, 64)
    return _turn_over(client, disk, total)


def _hundred_queues(client: Pipeline, disk: Disk, total: int) -> int:
    for i in range(99):
        client.put(b"q%d" % i, range(20), 200)
        disk.count(20, 200)
    return _turn_over(client, disk, total)


def _half_parked(client: Pipeline, disk: Disk, total: int) -> int:
    size = _size(total)
    chance = random.Random(1)
    line = b" 0 0 %d\r\n" % size
    count = parked = taken = 0
    for at in range(0, total // (size + RECORD_BYTES), BATCH):
        queues = [chance.choice((_PARKED, _BUSY)) for _ in range(BATCH)]
        request = b"".join([b"set %b%b%b\r\n" % (queue, line, payload(at + i, size)) for i, queue in enumerate(queues)])
        gone = queues.count(_BUSY)
        disk.count(BATCH - gone, size)
        reply = [
            b"VALUE busy 0 %d\r\n%b\r\nEND\r\nDELETED\r\n" % (size, payload(at + i, size))
            for i, queue in enumerate(queues)
            if queue == _BUSY
        ]
        client.run([(request, b"STORED\r\n" * BATCH), (b"get busy\r\ndelete busy\r\n" * gone, b"".join(reply))])
        count, parked, taken = count + BATCH, parked + BATCH - gone, taken + gone
    return count + 2 * taken


def _given_back(client: Pipeline, disk: Disk, total: int) -> int:
    size, queue = 512, b"given"
    client.put(queue, range(1000), size)
    disk.count(1000, size)
    value = b"VALUE given 0 %d\r\n%b\r\nEND\r\nEND\r\n" % (size, payload(0, size))
    requests = 0
    pieces = 20
    for i in range(pieces):
        client.ask(b"get given\r\nget given/abort\r\n", value, 1000)
        requests += 2000 + _turn_over(client, disk, total // pieces, i * total)
    return requests


def _counters(client: Pipeline, disk: Disk, total: int) -> int:
    queues = [b"c%d" % i for i in range(100)]
    for queue in queues:
        client.ask(b"set %b 0 0 20\r\n10000000000000000000\r\n" % queue, b"STORED\r\n")
    disk.count(100, 20)
    rounds = max(1, total // (100 * (RECORD_BYTES + 20)))
    half = len(queues) // 2

    def exchanges() -> Iterator[Exchange]:
        requests = [b"".join([b"incr %b 1\r\n" % queue for queue in some]) for some in (queues[:half], queues[half:])]
        for i in range(rounds):
            for request in requests:
                yield request, b"%d\r\n" % (10**19 + i + 1) * half

    client.run(exchanges())
    return rounds * 100


def _replaced(client: Pipeline, disk: Disk, total: int) -> int:
    size = _size(total)
    client.put(b"head", range(3), size)
    disk.count(3, size)
    count = max(1, total // (size + RECORD_BYTES) // BATCH)
    line = b"replace head 0 0 %d\r\n" % size
    half = BATCH // 2
    request = b"".join([b"%b%b\r\n" % (line, payload(number, size)) for number in range(half)])
    client.run((request, b"STORED\r\n" * half) for _ in range(2 * count))
    return count * BATCH


def move(client: Pipeline, count: int, size: int) -> None:
    """Put ``count`` items on the queue ``q`` such that compaction copies most of them."""
    for first in range(0, count, BATCH):
        client.put(b"q", range(first, min(count, first + BATCH)), size)
        client.put(b"gone", range(BATCH), 2 * size)
        client.take(b"gone", range(BATCH), 2 * size)


MIXTURES = (
    Mixture("one item parked, a busy queue", _one_parked),
    Mixture("99 queues with 20 items each, a busy one", _hundred_queues),
    Mixture("half of all items parked at random", _half_parked),
    Mixture("1,000 items reserved and given back, a busy queue", _given_back),
    Mixture("100 counters incremented", _counters, 100 << 20),
    Mixture("the head replaced", _replaced),
)
