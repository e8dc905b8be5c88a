"""The pages, and the static files that they load."""

from __future__ import annotations

from tornado.web import RequestHandler

ROUTES: tuple[tuple[str, type[RequestHandler]], ...] = ()
"""(path, handler) of each page; handlers are :class:`redqueue.server.web.handler.Handler`."""
