"""The pages, and the static files that they load."""

from __future__ import annotations

from typing import Any

from redqueue.server.web.site import Site


def routes(site: Site) -> list[Any]:
    """Tornado's rules for the pages; handlers are of :class:`redqueue.server.web.handler.Handler`."""
    return []
