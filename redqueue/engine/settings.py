"""What may be set for a queue."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class QueueSettings:
    """The settings in force for a queue (CONTRACT: Settings of a queue)."""

    reserve_timeout: float = 300.0
    """Seconds until a reservation that names no deadline of its own is taken back."""
    prefetch: int = 1
    """Reservations one consumer may hold at a time."""
    wait: float = 0.0
    """Seconds that a plain get waits on an empty queue."""
    max_items: int = 0
    """The most items, reserved ones included; 0 for no limit."""
    max_bytes: int = 0
    """The most bytes of payload, reserved items included; 0 for no limit."""

    bounded: bool = field(init=False)
    """Whether a put has a limit to look at."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounded", bool(self.max_items or self.max_bytes))
