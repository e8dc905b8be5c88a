"""Signals while the server starts: while the journal is being read, which may take minutes."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping

log = logging.getLogger("redqueue")

_ENDING = (signal.SIGTERM, signal.SIGINT)
_KEPT = (signal.SIGHUP, signal.SIGUSR1)


class StartSignals:
    """Handles the signals of the process from now on, until :meth:`hand_over`.

    Those that end the server cancel the task that this is made in: a replay changes nothing, so nothing is lost.
    The others are kept for later.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._kept: list[signal.Signals] = []
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._end, number)
        for number in _KEPT:
            self._loop.add_signal_handler(number, self._kept.append, number)

    def _end(self, number: signal.Signals) -> None:
        assert self._task is not None
        log.info("%s: ending before it was ready", number.name)
        self._task.cancel()

    def hand_over(self, handlers: Mapping[signal.Signals, Callable[[], object]]) -> None:
        """The server has started: have signals handled by ``handlers``, those that were kept first."""
        for number, handler in handlers.items():
            self._loop.add_signal_handler(number, handler)
        for number in self._kept:
            handlers[number]()
