"""Signs of life for the service manager, from the loop itself."""

from __future__ import annotations

import logging
import time

from tornado.ioloop import IOLoop

from redqueue.server.figures import ServerFigures
from redqueue.server.notify import Notifier

log = logging.getLogger(__name__)

STATUS_SECONDS = 2.0
STUCK_SECONDS = 300.0
"""After so long in one and the same write or sync the disk is taken for hung; one with errors may try for minutes."""


class Watch:
    """Tells the service manager, again and again, that the server is alive and how it is.

    It does so in the loop, so that a loop that is blocked says nothing; and it stops where the journal hangs in one
    write or sync for good, which no client can tell from a server that is dead.

    :param notifier: the service manager
    :param figures: those of the server
    """

    def __init__(self, notifier: Notifier, figures: ServerFigures) -> None:
        self._notifier = notifier
        self._figures = figures
        self._loop = IOLoop.current()
        self._seen: tuple[int, ...] = ()
        self._busy_since = 0.0
        self._is_stuck = False
        self._pause = STATUS_SECONDS
        if notifier.watchdog_seconds:
            self._pause = min(self._pause, notifier.watchdog_seconds / 2)

    def start(self) -> None:
        """Begin, unless there is nobody to be told."""
        if self._notifier:
            self.look()

    def look(self) -> None:
        """Look at the server, tell of it, and come back later."""
        self._loop.call_later(self._pause, self.look)
        self._judge(time.monotonic())
        self._notifier.status(self._words())
        if self._notifier.watchdog_seconds and not self._is_stuck:
            self._notifier.keep_alive()

    def _judge(self, now: float) -> None:
        """See whether the journal has been in the same write or sync since long ago."""
        journal, broker = self._figures.journal, self._figures.broker
        seen = () if journal is None or not journal.busy else (broker.batch, journal.frames, journal.syncs)
        if not seen or seen != self._seen:
            self._seen, self._busy_since = seen, now
            if self._is_stuck:
                self._is_stuck = False
                log.warning("the journal goes on")
        elif now - self._busy_since >= STUCK_SECONDS and not self._is_stuck:
            self._is_stuck = True
            log.critical(
                "the journal has hung in one write or sync for %.0f s; the service manager's watchdog is not fed any "
                "more. Check the disk",
                now - self._busy_since,
            )

    def _words(self) -> str:
        """How the server is."""
        figures, broker, journal = self._figures, self._figures.broker, self._figures.journal
        items = journal.live_items if journal is not None else broker.sum_items()
        text = f"{items} items in {len(broker.queues)} queues, {len(figures.connections)} connections"
        for is_so, word in ((broker.draining, "draining"), (broker.readonly, "read-only")):
            if is_so:
                text = f"{word}; {text}"
        trouble = "the journal hangs" if self._is_stuck else figures.trouble()
        return f"{trouble}; {text}" if trouble else text
