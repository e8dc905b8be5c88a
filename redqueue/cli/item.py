"""An item as a get hands it out, for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redqueue.cli.connection import Answer
from redqueue.cli.notation import bytes_fields, count, show, show_duration

FLAGS = b"i d f t l"
"""What a get asks for, besides the payload."""


@dataclass(frozen=True)
class Item:
    """An item.

    :ivar token: of its reservation; 0 where it was only looked at
    :ivar deliveries: how often it was delivered, this time included
    :ivar ttl: seconds that it has to live; -1 for no end
    :ivar age: seconds since it was put
    """

    queue: bytes
    item_id: int
    token: int
    deliveries: int
    flags: int
    ttl: int
    age: int
    payload: bytes

    @classmethod
    def of(cls, queue: bytes, answer: Answer) -> Item:
        """The item of an answer that has :data:`FLAGS`, and a token perhaps."""
        token = int(answer.flags.get(b"c", b"0"))
        numbers = (answer.number(letter) for letter in (b"i", b"d", b"f", b"t", b"l"))
        item_id, deliveries, flags, ttl, age = numbers
        return cls(queue, item_id, token, deliveries, flags, ttl, age, answer.payload)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **bytes_fields("queue", self.queue),
            "id": self.item_id,
            "flags": self.flags,
            "size": len(self.payload),
            "age": self.age,
            "ttl": None if self.ttl < 0 else self.ttl,
            "deliveries": self.deliveries,
            **bytes_fields("payload", self.payload),
        }

    def heading(self) -> str:
        """What is known of it, in a line."""
        words = [f"id {self.item_id}", count(len(self.payload), "byte"), f"flags {self.flags}"]
        words.append(f"{show_duration(self.age)} old")
        if self.ttl >= 0:
            words.append(f"{show_duration(self.ttl)} to live")
        if self.deliveries:
            words.append(f"delivered {count(self.deliveries, 'time')}")
        return f"{show(self.queue)}: {', '.join(words)}"
