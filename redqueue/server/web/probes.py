"""``/livez`` and ``/readyz``: for whoever restarts servers, and whoever sends them clients."""

from __future__ import annotations

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
