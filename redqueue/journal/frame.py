"""What becomes one frame: records in the order in which they are to be applied."""

from __future__ import annotations

from collections.abc import Sequence

from redqueue.journal import record as rec
from redqueue.journal.record import ACK_KIND, REWRITE


class Copy:
    """The record of a living item that compaction takes to the current segment.

    :ivar position: where it was read
    """

    __slots__ = ("item_id", "position", "record")

    def __init__(self, item_id: int, position: int, record: bytes) -> None:
        self.item_id = item_id
        self.position = position
        self.record = record


class Frame:
    """The records of one frame.

    :ivar growth: by how many bytes ``others`` make the living records longer
    :ivar has_fan_out: whether some of ``puts`` stand for several items
    """

    __slots__ = ("acks", "copies", "count", "growth", "has_fan_out", "named", "others", "payload", "puts")

    def __init__(
        self,
        named: Sequence[bytes],
        puts: list[bytes],
        copies: list[Copy],
        others: list[bytes],
        acks: list[bytes],
        growth: int = 0,
        has_fan_out: bool = False,
    ) -> None:
        self.named = named
        self.puts = puts
        self.copies = copies
        self.others = others
        self.acks = acks
        self.growth = growth
        self.has_fan_out = has_fan_out
        self.count = len(named) + len(puts) + len(copies) + len(others) + len(acks)
        parts = [*named, *puts] if named else puts
        if copies or others:
            parts = [*parts, *[rec.copied(copy.record) for copy in copies], *others]
        if acks:
            parts = [*parts, ACK_KIND, ACK_KIND.join([record[8:16] for record in acks])]
        self.payload = b"".join(parts)

    @property
    def takes_space(self) -> bool:
        """Whether it is more than acknowledgements and drops."""
        return bool(self.puts or self.copies) or any(record[0] == REWRITE for record in self.others)
