"""The JSON API: what can be looked at."""

from __future__ import annotations

from itertools import islice

from redqueue.access.roles import EVERYTHING, Role
from redqueue.engine.queue import Queue
from redqueue.protocol.stats import server_figures
from redqueue.server.figures import resident_bytes
from redqueue.server.web import queue_rows
from redqueue.server.web.dead_letters import dead_letter_queue
from redqueue.server.web.handler import Handler, Refusal
from redqueue.server.web.items import DEEPEST, count_in, items_of

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
        broker, visitor = figures.broker, self.visitor
        stats = dict([*figures.process(), *server_figures(broker, figures.service.counters)])
        user = visitor.user
        self.write(
            {
                "version": stats["version"],
                "pid": stats["pid"],
                "started": figures.started,
                "uptime": stats["uptime"],
                "reliable": stats["reliable"],
                "readonly": broker.readonly,
                "draining": broker.draining,
                "connections": stats["curr_connections"],
                "memory_bytes": broker.hot_cost(),
                "rss_bytes": resident_bytes(),
                "cpu_seconds": round(figures.cpu_seconds(), 3),
                "health": {"ok": not health.reasons(), "reasons": health.reasons()},
                "totals": await queue_rows.totals(figures),
                "stats": stats,
                "user": None if user is None else {"name": user.name, "grants": [repr(each) for each in user.grants]},
                "may_change": visitor.may(Role.ADMIN, None),
            }
        )


class QueuesHandler(Handler):
    """``/api/queues``"""

    async def get(self) -> None:
        """A page of the queues."""
        self.check_arguments("search", "sort", "order", "offset", "limit")
        needle = self.get_query_argument("search", "").encode("utf-8", "surrogateescape").lower()
        sort = self.choice("sort", *queue_rows.SORTS)
        is_descending = self.choice("order", "asc", "desc") == "desc"
        offset, limit = self.number("offset", 0, 0, MOST_OFFSET), self.number("limit", 50, 1, MOST_ROWS)
        visitor = self.visitor
        total, rows = await queue_rows.page(
            self.engine.history,
            sort,
            is_descending,
            lambda name: needle in name.lower() and visitor.may(Role.READER, name),
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
            queue, state = dead_letter_queue(broker, queue), "ready"
        if queue is not None and not self.visitor.may(Role.READER, queue.name):
            raise Refusal(403, "you are no reader of the queue that has its dead letters")
        if queue is None:
            self.write({"total": 0, "offset": offset, "items": []})
            return
        total = count_in(queue, state)
        items = await items_of(self.engine.figures, queue, state, offset, limit, payload_limit)
        self.write({"total": total, "offset": offset, "items": items})


class WholeServerHandler(Handler):
    """A handler of what concerns all queues: for those who may read all of them."""

    def required(self) -> tuple[Role, bytes | None]:
        """The role of a reader, of every queue."""
        return Role.READER, EVERYTHING.encode()


class ConnectionsHandler(WholeServerHandler):
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
                "user": None if connection.session.user is None else connection.session.user.name,
                "reserved": sum(map(len, connection.session.consumer.held.values())),
                "waiting": connection.session.waiter is not None,
            }
            for connection in islice(connections, offset, offset + limit)
        ]
        self.write({"total": len(connections), "offset": offset, "connections": rows})


class JournalHandler(WholeServerHandler):
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
                "live_bytes": min(entry.size, int(entry.live * average)),
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
