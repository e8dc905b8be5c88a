"""The web application: its routes, and the server that it answers through."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Iterable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, GZipContentEncoding, RequestHandler

from redqueue.access.authenticator import Authenticator
from redqueue.options import ANY_PORT, NO_PORT, Options
from redqueue.server.acceptor import Acceptor
from redqueue.server.binding import shown_address
from redqueue.server.tls import Certificates
from redqueue.server.web import changes, openapi, pages, past, probes, reads
from redqueue.server.web.handler import MAX_BODY, NotFound
from redqueue.server.web.site import Engine, Site

log = logging.getLogger(__name__)

IDLE_SECONDS = 75.0
"""How long a connection may say nothing, or take for the head of a request."""
BODY_SECONDS = 30.0
MOST_CLIENTS = 100
"""Connections at a time; more are closed at once, so that they take no room from clients of queues."""
MAX_HEAD = 16 << 10
"""Bytes of the head of a request."""

QUEUE = "/api/queues/([^/]+)"
API: tuple[tuple[str, type[RequestHandler]], ...] = (
    ("/livez", probes.Live),
    ("/readyz", probes.Ready),
    ("/metrics", probes.MetricsHandler),
    ("/api/openapi.json", openapi.DescriptionHandler),
    ("/api/server", reads.ServerHandler),
    ("/api/server/readonly", changes.ReadonlyHandler),
    ("/api/server/drain", changes.DrainHandler),
    ("/api/queues", reads.QueuesHandler),
    (QUEUE, changes.QueueHandler),
    (f"{QUEUE}/items", changes.ItemsHandler),
    (f"{QUEUE}/pause", changes.PauseHandler),
    (f"{QUEUE}/resume", changes.ResumeHandler),
    (f"{QUEUE}/flush", changes.FlushHandler),
    (f"{QUEUE}/redrive", changes.RedriveHandler),
    (f"{QUEUE}/history", past.QueueHistoryHandler),
    ("/api/history", past.HistoryHandler),
    ("/api/connections", reads.ConnectionsHandler),
    ("/api/journal", reads.JournalHandler),
)
"""The routes of the API and for monitoring; :mod:`redqueue.server.web.pages` has those of the pages."""


def application(site: Site) -> Application:
    """The application for a server."""
    return Application(
        [*((path, handler, {"site": site}) for path, handler in API), *pages.routes(site)],
        default_handler_class=NotFound,
        default_handler_args={"site": site},
        log_function=_log_request,
        transforms=[_Compressed],
    )


class _Compressed(GZipContentEncoding):
    """Compresses little, and quickly: nobody else is served meanwhile."""

    GZIP_LEVEL = 1


def _log_request(handler: RequestHandler) -> None:
    request = handler.request
    level = logging.ERROR if handler.get_status() >= 500 and handler.get_status() != 503 else logging.DEBUG
    log.log(level, "%s %s from %s: %d", request.method, request.uri, request.remote_ip, handler.get_status())


class HttpPortInUse(OSError):
    """The address for HTTP cannot be bound; the message says what to do."""


class WebServer:
    """The web application on its port.

    :param site: what it works with
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._server: HTTPServer | None = None
        self._sockets: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []
        self.address = ""

    def bind(self) -> None:
        """Take the port, which may be possible as root only. Who connects waits for :meth:`listen`.

        :raises HttpPortInUse: where the port is taken
        """
        self.adopt(bind_http(self._site.options))

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Take sockets over that listen."""
        self._sockets += sockets

    def listen(self, authenticator: Authenticator | None = None, certificates: Certificates | None = None) -> None:
        """Answer from here on, if there is to be a web page; what needs the engine answers 503 before :meth:`serve`.

        :param authenticator: tells users; None where nobody is asked
        :param certificates: what to speak HTTPS with; None, or one without a context, for HTTP
        :raises HttpPortInUse: where the port has not been bound before and is taken
        """
        options = self._site.options
        if not self._sockets:
            if options.http_port == NO_PORT:
                return
            self.bind()
        self._site.authenticator = authenticator
        context = certificates.context if certificates is not None else None
        self._server = HTTPServer(
            application(self._site),
            max_body_size=2 * options.max_item_size + MAX_BODY,
            max_header_size=MAX_HEAD,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
            ssl_options=context,
        )
        if certificates is not None:
            certificates.on_change.append(self._change_certificate)
        self._acceptors = [Acceptor(sock, self._take) for sock in self._sockets]
        self.address = f"{'http' if context is None else 'https'}://{shown_address(self._sockets[0])}/"

    def _take(self, sock: socket.socket, address: Any) -> None:
        """Somebody connects. Tornado's own accept ends the server where descriptors run out."""
        assert self._server is not None
        if len(self._server._connections) >= MOST_CLIENTS:
            sock.close()
        else:
            self._server._handle_connection(sock, address)

    def _change_certificate(self, context: ssl.SSLContext | None) -> None:
        if self._server is not None:
            self._server.ssl_options = context  # which Tornado takes for each connection anew

    def serve(self, engine: Engine) -> None:
        """The journal is replayed: everything is answered."""
        self._site.engine = engine
        if self._server is not None:
            self._keep_history(engine)

    def _keep_history(self, engine: Engine) -> None:
        IOLoop.current().call_later(engine.history.turn(), self._keep_history, engine)

    def close(self) -> None:
        """Accept nobody any more."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def close_connections(self) -> None:
        """Close what is still open."""
        if self._server is not None:
            await self._server.close_all_connections()


def bind_http(options: Options) -> list[socket.socket]:
    """The sockets for HTTP.

    :raises HttpPortInUse: where the port is taken, or may not be had
    """
    port = 0 if options.http_port == ANY_PORT else int(options.http_port)
    try:
        return bind_sockets(port, options.http_host or None)
    except OSError as error:
        remedy = "another --http_port, or --http_port=0 for no web page"
        if error.errno == errno.EADDRINUSE:
            remedy += "; perhaps another RedQueue has it"
        raise HttpPortInUse(
            error.errno, f"{error.strerror}: the web page needs {remedy}", f"{options.http_host}:{port}"
        ) from None
