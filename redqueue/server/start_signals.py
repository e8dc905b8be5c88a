"""Signals before the server serves, while the journal is being read and the loop does not run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """A signal, whose name is the argument, has ended the start. Nothing is lost: a replay changes nothing."""


class StartSignals:
    """Handles signals from now on, until the loop's own handlers take their place.

    SIGTERM and SIGINT raise :class:`Interrupted` in the middle of whatever the main thread does. SIGUSR1 waits: the
    loop, which is woken by every signal, asks the handler that it has when it runs at last.
    """

    def __init__(self) -> None:
        for number in _ENDING:
            signal.signal(number, self._end)
        signal.signal(signal.SIGUSR1, self._wait)

    @staticmethod
    def _end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    @staticmethod
    def _wait(number: int, frame: FrameType | None) -> None:
        """Without a handler the signal would end the process."""

    @contextmanager
    def during_waits(self) -> Iterator[None]:
        """Where the loop runs meanwhile, which an exception in a handler would not reach.

        :raises Interrupted: as without
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in _ENDING:
            loop.add_signal_handler(number, task.cancel, signal.Signals(number).name)
        try:
            yield
        except asyncio.CancelledError as error:
            raise Interrupted(*error.args) from None
