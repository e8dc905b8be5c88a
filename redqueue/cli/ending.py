"""SIGTERM and SIGINT as a request to come to an end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Ending:
    """Whether the end was asked for.

    :ivar is_asked_for: as the name says
    """

    def __init__(self) -> None:
        self.is_asked_for = False

    def ask(self, number: int, frame: object) -> None:
        """The handler of the signals; the second one interrupts at once."""
        if self.is_asked_for:
            raise KeyboardInterrupt
        self.is_asked_for = True


@contextlib.contextmanager
def ending() -> Iterator[Ending]:
    """Have SIGTERM and SIGINT ask for the end."""
    asked = Ending()
    before = {number: signal.signal(number, asked.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
