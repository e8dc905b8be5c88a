"""An item on its way into a queue."""

from __future__ import annotations

from typing import Any, NamedTuple


class Arrival(NamedTuple):
    """An item that is to be put.

    :ivar payload: the item's bytes
    :ivar flags: 32-bit client flags
    :ivar expires: wall-clock nanoseconds at which its TTL passes, 0 for never
    :ivar receipt: handed back by ``rollback`` if the journal cannot take it
    :ivar delay: seconds before which it is not ready
    :ivar first: whether it goes to the head
    """

    payload: bytes
    flags: int
    expires: int
    receipt: Any
    delay: float = 0.0
    first: bool = False
