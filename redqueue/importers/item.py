"""An item of another queue server, and what a source of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class SourceFailed(Exception):
    """The source cannot be read, or has answered what it must not; the text says which."""


@dataclass(frozen=True)
class SourceItem:
    """An item to import.

    :ivar expires: the Unix time when its time to live passes; 0 for never
    :ivar delay: seconds until it is ready
    :ivar handle: by which the source finds it again
    :ivar is_buried: whether a worker has set it aside there
    """

    payload: bytes
    expires: float = 0.0
    delay: float = 0.0
    handle: bytes = b""
    is_buried: bool = False


@dataclass
class Queue:
    """A queue of a journal, replayed.

    :ivar findings: what is damaged or doubtful in it, in words
    :ivar doubtful: items among ``items`` that may have been acknowledged
    """

    name: bytes
    items: list[SourceItem] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    doubtful: int = 0


class LiveSource(Protocol):
    """A running server."""

    def count(self) -> int:
        """How many items there are to import."""

    def batch(self) -> Sequence[SourceItem]:
        """The next items; none at the end."""

    def remove(self, items: Sequence[SourceItem]) -> int:
        """Remove items that are stored elsewhere now; returns how many were there still."""

    def findings(self) -> list[str]:
        """What stays there, or is to be known, in words."""

    def close(self) -> None:
        """Leave; what was not removed is there as before."""
