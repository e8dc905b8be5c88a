"""The JSON API: what has been."""

from __future__ import annotations

import math

from redqueue.server.web.handler import Refusal
from redqueue.server.web.reads import OneQueueHandler
from redqueue.server.web.samples import RANGES

LATEST = 1e11
"""A Unix time that is late enough."""


class PastHandler(OneQueueHandler):
    """What the histories have in common."""

    def asked(self) -> tuple[str, float]:
        """The range, and the Unix time from which on samples are wanted."""
        self.check_arguments("range", "since")
        try:
            since = float(self.get_query_argument("since", "0"))
        except ValueError:
            since = math.nan
        if not 0 <= since <= LATEST:
            raise Refusal(400, "since takes a Unix time in seconds, such as 1767225600.25")
        return self.choice("range", *RANGES), since


class HistoryHandler(PastHandler):
    """``/api/history``"""

    async def get(self) -> None:
        """Depth and rates of all queues together over time, and what they are now."""
        name, since = self.asked()
        history = self.engine.history
        self.write({**history.of_all(name, since), "totals": history.totals()})


class QueueHistoryHandler(PastHandler):
    """``/api/queues/{queue}/history``"""

    async def get(self, text: str) -> None:
        """Depth and rates of one queue over time."""
        name, since = self.asked()
        found = self.engine.history.of_queue(self.queue_name(text), name, since)
        if found is None:
            raise Refusal(404, "there is no such queue; a queue is there while it holds items or somebody waits for it")
        self.write(found)
