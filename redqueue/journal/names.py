"""The numbers that stand for queues in records, and which of them a segment has been told the names of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redqueue.journal import record as rec
from redqueue.journal.frame import Copy
from redqueue.journal.record import DROP, FANOUT, HAS_ORIGIN, REWRITE

_from_bytes: Final = int.from_bytes


class QueueNames:
    """Numbers of queues, six bytes in records, and their names.

    A number is named before its first use in each segment, so that no segment
    needs another one to be read.

    :param names: of the numbers in the journal
    :param pinned: those of them that stay, whether their queue is open or not
    :param last: the highest number ever given

    :ivar known: the name of each number
    :ivar unnamed: numbers that the current segment has not been told the names of
    """

    def __init__(self, names: dict[bytes, bytes], pinned: set[bytes], last: int) -> None:
        self.known = dict(names)
        self._numbers: dict[bytes, list[bytes]] = {}
        for number, name in sorted(names.items()):
            self._numbers.setdefault(name, []).append(number)
        self._pinned = set(pinned)
        self._last = last
        self.unnamed = set(self.known)

    def open(self, name: bytes) -> int:
        """A number for a queue; its name is written before the number's first use in each segment."""
        numbers = self._numbers.get(name)
        if numbers is None:
            self._last += 1
            numbers = self._numbers[name] = [self._last.to_bytes(6, "big")]
            self.known[numbers[0]] = name
            self.unnamed.add(numbers[0])
        return _from_bytes(numbers[-1], "big")

    def pin(self, name: bytes) -> int:
        """A number for a queue that stays, whether the queue is open or not."""
        number = self.open(name)
        self._pinned.add(number.to_bytes(6, "big"))
        return number

    def close(self, number: int) -> None:
        """The number is not used any more, unless it is pinned."""
        name = self.known[number.to_bytes(6, "big")]
        keys = self._numbers.pop(name)
        pinned = [key for key in keys if key in self._pinned]
        if pinned:
            self._numbers[name] = pinned
        for key in keys:
            if key not in self._pinned:
                del self.known[key]
                self.unnamed.discard(key)

    def begin_segment(self) -> None:
        """A new segment has been told no names."""
        self.unnamed.update(self.known)  # in place: a queue may be opened meanwhile

    def were_written(self, names: Sequence[bytes]) -> None:
        """The current segment has these NAME records."""
        for name in names:
            self.unnamed.discard(name[2:8])

    def all(self) -> list[bytes]:
        """NAME records of all numbers."""
        return [rec.name(_from_bytes(key, "big"), name) for key, name in sorted(self.known.items())]

    def needed(
        self, puts: Sequence[bytes], others: Sequence[bytes] = (), copies: Sequence[Copy] = ()
    ) -> Sequence[bytes]:
        """NAME records for the queues that a frame of these records is the first to speak of in its segment."""
        if not self.unnamed:
            return ()
        used = [record[2:8] for record in puts]
        used += [record[2:8] for record in others if record[0] == DROP]
        rewritten = [*[copy.record for copy in copies], *[record for record in others if record[0] == REWRITE]]
        used += [record[2:8] for record in rewritten]
        used += [rec.origin(record).to_bytes(6, "big") for record in (*puts, *rewritten) if record[1] & HAS_ORIGIN]
        for record in puts:
            if record[0] == FANOUT:
                used += rec.fan_out_queues(record)
        names = self.known
        return [rec.name(_from_bytes(key, "big"), names[key]) for key in sorted(self.unnamed.intersection(used))]
