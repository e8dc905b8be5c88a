"""Ctrl-C and its kin, such that what was started is always stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """Let the first of :data:`SIGNALS` raise KeyboardInterrupt, and no second one disturb the cleaning up after it."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """Hold the signals back until the end of the block.

    A process started inside keeps them blocked for good, unless it unblocks them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
