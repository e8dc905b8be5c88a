"""For monitoring: ``/livez`` for whoever restarts servers, ``/readyz`` for whoever sends them clients, ``/metrics``."""

from __future__ import annotations

import contextlib

from prometheus_client.exposition import choose_encoder
from tornado.iostream import StreamClosedError

from redqueue.access.roles import EVERYTHING, Role
from redqueue.server.web.handler import Handler


class Live(Handler):
    """``/livez``: the loop turns."""

    asks_who = False
    needs_engine = False
    checks_host = False

    async def get(self) -> None:
        """It does, or nothing would be answered."""
        self.write({"ok": True})


class Ready(Handler):
    """``/readyz``: whether clients should be sent here, and why not."""

    asks_who = False
    needs_engine = False
    checks_host = False

    async def get(self) -> None:
        """200 or 503, and the reasons in words."""
        reasons = self.site.health.obstacles()
        self.set_status(503 if reasons else 200)
        self.write({"ok": not reasons, "reasons": reasons})


class MetricsHandler(Handler):
    """``/metrics``: in Prometheus' text format or in OpenMetrics', as the one who asks prefers."""

    def required(self) -> tuple[Role, bytes | None]:
        """The role of a reader, of every queue."""
        return Role.READER, EVERYTHING.encode()

    async def get(self) -> None:
        """All metrics."""
        self.check_arguments()
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        with contextlib.suppress(StreamClosedError):  # whoever has asked does not stay for the answer
            async for piece in self.engine.metrics.text(encode):
                self.write(piece)
                await self.flush()
