"""What a session asks of the server around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

Figures = Iterable[tuple[str, object]]


class Host(Protocol):
    """What a session asks of the server around it."""

    version: str

    def process_stats(self) -> Figures:
        """Figures of the process: pid, uptime, connections, bytes, journal."""

    def setting_stats(self) -> Figures:
        """The options in force."""

    def connection_stats(self) -> Figures:
        """A few figures for each connection."""

    def reset_stats(self) -> None:
        """Count from zero."""

    def set_verbosity(self, level: int) -> None:
        """Log more or less."""

    def shut_down(self) -> bool:
        """End the server; False where clients may not."""
