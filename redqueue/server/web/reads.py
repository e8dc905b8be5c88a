"""The JSON API: what can be looked at."""

from __future__ import annotations

from itertools import islice

from redqueue.engine.queue import Queue
from redqueue.protocol.stats import server_figures
from redqueue.server.web import queue_rows
from redqueue.server.web.handler import Handler, Refusal
from redqueue.server.web.items import DEEPEST, items_of

MOST_ROWS = 500
MOST_ITEMS = 100
MOST_OFFSET = 10_000_000
SHOWN_PAYLOAD = 4096
"""Bytes of a payload that are shown unless more are asked for."""


class ServerHandler(Handler):
    """``/api/server``"""

    async def get(self) -> None:
        """All figures of the server, and whether it is well."""
        self.check_arguments()
        figures, health = self.engine.figures, self.site.health
        found = {name: value for name, value in figures.process() if name not in ("health", "readonly")}
        found |= server_figures(figures.broker, figures.service.counters)
        found |= {
            "started": figures.started,
            "readonly": figures.broker.readonly,
            "draining": figures.broker.draining,
            "health": {"ok": not health.reasons(), "reasons": health.reasons()},
            "you": {"name": self.visitor.name, "may_change": self.visitor.may_change},
        }
        self.write(found)


class QueuesHandler(Handler):
    """``/api/queues``"""

    async def get(self) -> None:
        """A page of the queues."""
        self.check_arguments("search", "sort", "order", "offset", "limit")
        needle = self.get_query_argument("search", "").encode("utf-8", "surrogateescape").lower()
        sort = self.choice("sort", *queue_rows.SORTS)
        is_descending = self.choice("order", "asc", "desc") == "desc"
        offset, limit = self.number("offset", 0, 0, MOST_OFFSET), self.number("limit", 50, 1, MOST_ROWS)
        may_read = self.visitor.may_read
        total, rows = await queue_rows.page(
            self.engine.figures.broker,
            sort,
            is_descending,
            lambda name: needle in name.lower() and may_read(name),
            offset,
            limit,
        )
        self.write({"total": total, "offset": offset, "queues": rows})


class OneQueueHandler(Handler):
    """A handler of one queue."""

    def find(self, text: str) -> Queue:
        """The queue of that name.

        :raises Refusal: where there is none
        """
        queue = self.engine.figures.broker.queues.get(self.queue_name(text))
        if queue is None:
            raise Refusal(404, "there is no such queue; a queue is there while it holds items or somebody waits for it")
        return queue


class ItemsReader(OneQueueHandler):
    """The reading half of ``/api/queues/{queue}/items``."""

    async def get(self, text: str) -> None:
        """Items of the queue in one state."""
        self.check_arguments("state", "offset", "limit", "payload_limit")
        state = self.choice("state", "ready", "reserved", "delayed", "dead")
        offset, limit = self.number("offset", 0, 0, DEEPEST), self.number("limit", 20, 1, MOST_ITEMS)
        payload_limit = self.number("payload_limit", SHOWN_PAYLOAD, 0, 1 << 20)
        broker = self.engine.figures.broker
        queue: Queue | None = self.find(text)
        if state == "dead":
            assert queue is not None
            queue, state = queue_rows.dead_letter_queue(broker, queue), "ready"
        items = [] if queue is None else await items_of(broker, queue, state, offset, limit, payload_limit)
        self.write({"offset": offset, "items": items})


class ConnectionsHandler(Handler):
    """``/api/connections``"""

    async def get(self) -> None:
        """A page of the connections."""
        self.check_arguments("offset", "limit")
        offset, limit = self.number("offset", 0, 0, MOST_OFFSET), self.number("limit", 50, 1, MOST_ROWS)
        connections = sorted(self.engine.figures.connections, key=lambda connection: connection.number)
        rows = [
            {
                "number": connection.number,
                "address": connection.describe(),
                "reserved": sum(map(len, connection.session.consumer.held.values())),
                "waiting": connection.session.waiter is not None,
                "unsent_bytes": connection.session.out_bytes,
            }
            for connection in islice(connections, offset, offset + limit)
        ]
        self.write({"total": len(connections), "offset": offset, "connections": rows})


class JournalHandler(Handler):
    """``/api/journal``"""

    async def get(self) -> None:
        """A page of the journal's segments, and their sums; ``journal`` is false where nothing is kept."""
        self.check_arguments("offset", "limit")
        offset, limit = self.number("offset", 0, 0, MOST_OFFSET), self.number("limit", 50, 1, MOST_ROWS)
        journal, compactor = self.engine.figures.journal, self.engine.figures.commit.compactor
        if journal is None or compactor is None:
            self.write({"journal": False, "total": 0, "offset": offset, "segments": []})
            return
        entries = journal.index.segments
        average = journal.live_bytes / max(1, journal.live_items)
        rows = [
            {
                "number": entry.number,
                "file": entry.path.name,
                "bytes": entry.size,
                "live_items": entry.live,
                "live_bytes_estimate": min(entry.size, int(entry.live * average)),
                "state": "current" if entry is entries[-1] else "closed" if entry.live else "dead",
            }
            for entry in islice(entries, offset, offset + limit)
        ]
        self.write(
            {
                "journal": True,
                "directory": str(journal.directory),
                "bytes": journal.disk_bytes(),
                "live_bytes": journal.live_bytes,
                "live_items": journal.live_items,
                "frames": journal.frames,
                "syncs": journal.syncs,
                "compacted_segments": compactor.compacted_segments,
                "copied_items": compactor.copied_items,
                "total": len(entries),
                "offset": offset,
                "segments": rows,
            }
        )
